"""Labels for lines that each name their plan: `{"text": "...", "plan": "stack(qu, ner)"}`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from polygraft.cli.labelling import Prediction, describe_words
from polygraft.errors import DataError

if TYPE_CHECKING:
    from polygraft.attach.attach import Attachment
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base
    from polygraft.store.store import Store

KEYS = ("text", "plan")


class RoutedLine(NamedTuple):
    """A text and the plan that is to label it."""

    text: str
    plan: str


def read_routed(lines: Iterable[str], *, name: str, first: int, plan: str | None) -> list[RoutedLine]:
    """Read lines of JSON with a text and its plan.

    Args:
        lines: The lines.
        name: What messages call their source.
        first: The number of the first one.
        plan: The plan of lines that name none.

    Raises:
        DataError: A line is something else.
    """
    return [
        _read_line(line, f"{name}, line {number}", plan) for number, line in enumerate(lines, start=first)
    ]


def _read_line(line: str, place: str, plan: str | None) -> RoutedLine:
    expected = 'Expected {"text": "...", "plan": "stack(qu, ner)"}.'
    try:
        found: Any = json.loads(line)
    except (ValueError, RecursionError):
        raise DataError(f"{place}: the line is no JSON. {expected} Correct the line.") from None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise DataError(f"{place}: the line is no object of strings. {expected} Correct the line.")
    # JSON can name halves of characters, which are no text.
    if any(not _is_text(value) for value in found.values()):
        raise DataError(
            f"{place}: the line has half a character (a lone surrogate). {expected} Correct the line."
        )
    unknown = [key for key in found if key not in KEYS]
    if unknown:
        raise DataError(f"{place}: the line has the key '{unknown[0]}'. {expected} Correct the line.")
    whole = {"plan": plan, **found} if plan is not None else found
    missing = [key for key in KEYS if key not in whole]
    if missing:
        raise DataError(f"{place}: the line has no '{missing[0]}'. {expected} Correct the line.")
    return RoutedLine(whole["text"], whole["plan"])


def _is_text(value: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


class RoutedLabeller:
    """Labels lines of many plans in common batches; a graft is read from the store once.

    Args:
        base: The base.
        store: Where the grafts are.
        any_base: Whether to accept grafts of another base.
    """

    def __init__(self, base: Base, store: Store, *, any_base: bool) -> None:
        self.base = base
        self.store = store
        self.any_base = any_base
        self.grafts: dict[str, Graft] = {}

    def label(self, lines: Sequence[RoutedLine]) -> list[Prediction]:
        """Label some lines, in their order; each prediction names its plan.

        Raises:
            PlanError: A plan cannot be read, names a graft that is not there, or has no head for labels.
        """
        from polygraft.attach.attach import attach
        from polygraft.attach.parse import parse_plan
        from polygraft.attach.plan import Route

        # Sorted, so that rows of one language stand beside each other.
        plans = sorted({line.plan for line in lines})
        if not plans:
            return []
        members = [parse_plan(plan) for plan in plans]
        self._keep(plans)
        rows = [plans.index(line.plan) for line in lines]
        with attach(
            self.base,
            Route(tuple(members)),
            grafts=self.grafts,
            store=self.store,
            any_base=self.any_base,
        ) as attachment:
            found = self._label(attachment, [line.text for line in lines], rows)
        return [{**each, "plan": line.plan} for each, line in zip(found, lines, strict=True)]

    def _keep(self, plans: Sequence[str]) -> None:
        """Read the grafts that were not read yet; what is not there is told when the plan is attached."""
        from polygraft.attach.graft import rebuild_graft
        from polygraft.attach.parse import parse_plan
        from polygraft.attach.plan import list_names

        known = set(self.store.names())
        for named in (named for plan in plans for named in list_names(parse_plan(plan))):
            # One with a version is read for every batch.
            if named.name in known and named.name not in self.grafts and named.version is None:
                manifest, tensors = self.store.get(named.name)
                self.grafts[named.name] = rebuild_graft(self.base, manifest, tensors, any_base=self.any_base)

    @staticmethod
    def _label(attachment: Attachment, texts: Sequence[str], rows: Sequence[int]) -> list[Prediction]:
        from polygraft.data.words import split_words
        from polygraft.evaluate.routed import label_rows, label_text_rows
        from polygraft.evaluate.run import is_span_labelling

        found: list[Prediction] = [{} for _ in texts]
        heads = {row: attachment.members[row].find_head().options for row in sorted(set(rows))}
        for objective in dict.fromkeys(head.objective for head in heads.values()):
            places = [place for place, row in enumerate(rows) if heads[row].objective == objective]
            owners = [rows[place] for place in places]
            if objective == "tokens":
                split = [split_words(texts[place]) for place in places]
                made = label_rows(attachment, [[word.text for word in words] for words in split], rows=owners)
                for place, words, labels, num_cut in zip(
                    places, split, made.labels, made.num_cut, strict=True
                ):
                    has_spans = is_span_labelling(heads[rows[place]].labels)
                    found[place] = describe_words(texts[place], words, labels, num_cut, has_spans=has_spans)
                continue
            filled = [place for place in places if texts[place].strip()]
            for place in places:
                found[place] = {"text": texts[place], "label": None}
            made = label_text_rows(
                attachment, [texts[place] for place in filled], rows=[rows[place] for place in filled]
            )
            for place, (label,), num_cut in zip(filled, made.labels, made.num_cut, strict=True):
                cut = {"num_cut_pieces": num_cut} if num_cut else {}
                found[place] = {"text": texts[place], "label": label, **cut}
        return found
