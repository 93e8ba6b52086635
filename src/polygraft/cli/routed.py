"""Labels for lines that each name their plan: `{"text": "...", "plan": "stack(qu, ner)"}`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from polygraft.cli.labelling import Prediction, describe_words
from polygraft.cli.lines import decode_line
from polygraft.errors import DataError, PlanError, PolygraftError

if TYPE_CHECKING:
    from polygraft.attach.attach import Attachment
    from polygraft.attach.graft import Graft
    from polygraft.attach.plan import Named, Plan
    from polygraft.base.base import Base
    from polygraft.store.store import Store

KEYS = ("text", "plan")
KEPT_BYTES = 2**30
"""Grafts that are kept between batches; one of a language has a few megabytes."""


class RoutedLine(NamedTuple):
    """A text and the plan that is to label it."""

    text: str
    plan: str
    place: str
    """Where it stands, for messages."""


class Refusal(NamedTuple):
    """A line that gets no answer."""

    sentence: str
    """Why, and where it stands."""


def read_routed(
    lines: Iterable[bytes], *, name: str, first: int, plan: str | None
) -> list[RoutedLine | Refusal]:
    """Read lines of JSON with a text and its plan; empty lines ask for nothing.

    Args:
        lines: The lines, in UTF-8.
        name: What messages call their source.
        first: The number of the first one.
        plan: The plan of lines that name none.

    Returns:
        What each line asks for, or why it asks for nothing that can be answered.
    """
    found: list[RoutedLine | Refusal] = []
    for number, raw in enumerate(lines, start=first):
        try:
            line = decode_line(raw, name=name, number=number)
            if line.strip():
                found.append(_read_line(line, f"{name}, line {number}", plan))
        except DataError as error:
            found.append(Refusal(str(error)))
    return found


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
    return RoutedLine(whole["text"], whole["plan"], place)


def read_plan(text: str) -> Plan:
    """Read the plan of a line.

    Raises:
        PlanError: It is no plan, is the bare base, which labels nothing, or has several ways.
    """
    from polygraft.attach.parse import parse_way
    from polygraft.attach.plan import list_ways

    plan = parse_way(text)
    if plan is None:
        raise PlanError(
            f"The plan '{text}' is the bare base, which has no head, so it cannot label anything. Expected a task "
            "graft in it, as in stack(qu, ner). Name one, or leave the line out."
        )
    num_ways = len(list_ways(plan))
    if num_ways > 1:
        raise PlanError(
            f"The plan '{text}' has {num_ways} ways for a row, and a line goes one. Expected a plan without route and "
            "parallel. Write a line for each way."
        )
    return plan


def _is_text(value: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


class RoutedLabeller:
    """Labels lines of many plans in common batches.

    A version of a graft is read from the store once and kept for later batches, as long as there is room; then those go
    first that were needed longest ago, and are read again when they are needed. Which version is the latest of a name
    is asked once.

    Args:
        base: The base.
        store: Where the grafts are.
        any_base: Whether to accept grafts of another base.
        kept_bytes: The most bytes of grafts that are kept between batches; those of one batch are there together.
    """

    def __init__(self, base: Base, store: Store, *, any_base: bool, kept_bytes: int = KEPT_BYTES) -> None:
        self.base = base
        self.store = store
        self.any_base = any_base
        self.kept_bytes = kept_bytes
        self.kept: dict[Named, Graft] = {}
        """Grafts by name and version, those first that were needed longest ago."""
        self.latest: dict[str, int] = {}

    def label(self, lines: Sequence[RoutedLine | Refusal]) -> list[Prediction | Refusal]:
        """Label some lines, in their order; each prediction names its plan.

        A line whose plan cannot be read, names a graft that is not there, cannot be put in force or has no head for
        labels is refused; refusals are handed on.
        """
        plans: dict[str, Plan] = {}
        grafts: dict[str, Graft] = {}
        errors: dict[str, PolygraftError] = {}
        asked = [line for line in lines if isinstance(line, RoutedLine)]
        for text in dict.fromkeys(line.plan for line in asked):
            try:
                plan = read_plan(text)
                grafts |= self._gather(plan)
            except PolygraftError as error:
                errors[text] = error
            else:
                plans[text] = plan
        answers = iter(self._answer([line for line in asked if line.plan in plans], plans, grafts))
        self._drop_oldest()
        found: list[Prediction | Refusal] = []
        for line in lines:
            if isinstance(line, Refusal):
                found.append(line)
                continue
            answer = errors[line.plan] if line.plan in errors else next(answers)
            found.append(
                Refusal(f"{answer} That is the plan of {line.place}.")
                if isinstance(answer, PolygraftError)
                else {**answer, "plan": line.plan}
            )
        return found

    def _answer(
        self, lines: Sequence[RoutedLine], plans: Mapping[str, Plan], grafts: Mapping[str, Graft]
    ) -> list[Prediction | PolygraftError]:
        """Label lines in one batch; where that cannot be, in two of half the plans each, down to single plans."""
        from polygraft.attach.attach import attach
        from polygraft.attach.plan import Route

        # Sorted, so that rows of one language stand beside each other.
        ways = sorted({plans[line.plan] for line in lines}, key=str)
        if not ways:
            return []
        rows = [ways.index(plans[line.plan]) for line in lines]
        # A plan alone is put in force as it was given, which is what its errors quote.
        whole = ways[0] if len(ways) == 1 else Route(tuple(ways))
        try:
            with attach(self.base, whole, grafts=grafts, any_base=self.any_base) as attachment:
                for member in attachment.members:
                    member.find_head()
                return [*self._label(attachment, [line.text for line in lines], rows)]
        except PolygraftError as error:
            if len(ways) == 1:
                return [error for _ in lines]
        found: dict[int, Prediction | PolygraftError] = {}
        middle = len(ways) // 2
        for is_upper in (False, True):
            places = [place for place, row in enumerate(rows) if (row >= middle) == is_upper]
            half = self._answer([lines[place] for place in places], plans, grafts)
            found |= dict(zip(places, half, strict=True))
        return [found[place] for place in range(len(lines))]

    def _gather(self, plan: Plan) -> dict[str, Graft]:
        """Give the grafts of a plan by what it calls them, read from the store where they are not kept."""
        from polygraft.attach.find import Finder
        from polygraft.attach.plan import Named, list_names

        finder = Finder(self.base, plan, {}, self.store, any_base=self.any_base)
        found: dict[str, Graft] = {}
        for named in list_names(plan):
            exact = Named(named.name, named.version or self._find_latest(named.name))
            graft = self.kept.pop(exact, None) or finder.find(exact)
            self.kept[exact] = found[str(named)] = graft
        return found

    def _find_latest(self, name: str) -> int | None:
        """Give the latest version of a graft, or None where there is none, which is told when it is looked for."""
        if name not in self.latest and name in self.store.names():
            self.latest[name] = self.store.manifest(name).version
        return self.latest.get(name)

    def _drop_oldest(self) -> None:
        sizes = {
            named: sum(tensor.nbytes for tensor in graft.tensors().values())
            for named, graft in self.kept.items()
        }
        total = sum(sizes.values())
        for named, size in sizes.items():
            if total <= self.kept_bytes:
                break
            del self.kept[named]
            total -= size

    @staticmethod
    def _label(attachment: Attachment, texts: Sequence[str], rows: Sequence[int]) -> list[Prediction]:
        from polygraft.data.words import split_words
        from polygraft.evaluate.routed import label_rows, label_text_rows
        from polygraft.evaluate.spans import is_span_labelling

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
