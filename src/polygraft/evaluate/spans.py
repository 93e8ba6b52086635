"""Entities in tagged sentences, and how many of them were found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polygraft.errors import DataError

_OUTSIDE = "O."


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """An entity: tokens `start` up to, and without, `end`.

    Args:
        type: What the entity is: `PER`, `LOC` ... ; `_` where the tag names no type.
        start: Number of its first token.
        end: Number of the token after its last, so that `tokens[start:end]` are its words.
    """

    type: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SpanCounts:
    """How many entities are right, predicted, and there; counts can be added.

    Args:
        correct: Predicted entities that have the type, start and end of a gold one.
        predicted: Predicted entities.
        gold: Entities that are there.
    """

    correct: int = 0
    predicted: int = 0
    gold: int = 0

    def __add__(self, other: SpanCounts) -> SpanCounts:
        """Give the counts of both together."""
        return SpanCounts(
            self.correct + other.correct, self.predicted + other.predicted, self.gold + other.gold
        )

    @property
    def precision(self) -> float:
        """Share of the predicted entities that are right, 0 where none is predicted."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Share of the gold entities that are found, 0 where there is none."""
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 0 where both are."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


@dataclass(frozen=True, kw_only=True)
class TypeScore:
    """Precision, recall and F1 of one type of entity, or of one label.

    Args:
        precision: Share of the predicted ones that are right.
        recall: Share of the gold ones that are found.
        f1: Harmonic mean of both.
        num_gold: How many are gold.
        num_predicted: How many are predicted.
    """

    precision: float
    recall: float
    f1: float
    num_gold: int
    num_predicted: int


@dataclass(frozen=True, kw_only=True)
class SpanScore:
    """Precision, recall and F1 over all entities, and by type.

    Args:
        precision: Share of the predicted entities that are right.
        recall: Share of the gold entities that are found.
        f1: Harmonic mean of both.
        by_type: The same for each type that is gold or predicted, sorted by name.
        num_gold: Gold entities.
        num_predicted: Predicted entities.
    """

    precision: float
    recall: float
    f1: float
    by_type: Mapping[str, TypeScore]
    num_gold: int
    num_predicted: int


def read_spans(tags: Sequence[str]) -> list[Span]:
    """Read the entities of one sentence, in the lenient way of conlleval and of seqeval's default mode.

    A tag is a letter and, after a hyphen, a type. `B` and `S` open an entity; `I` and `E` open one where none
    is open. Another type ends the open entity and opens the next. `E` and `S` end theirs.

    Args:
        tags: The tags of one sentence, in IOB1, IOB2, IOBES, or a mixture.

    Raises:
        DataError: A tag is empty.

    Example:
        >>> read_spans(["B-PER", "I-PER", "O", "I-LOC"])
        [Span(type='PER', start=0, end=2), Span(type='LOC', start=3, end=4)]
    """
    spans: list[Span] = []
    letter_before, type_before, start = "O", "", 0
    for place, tag in enumerate((*tags, "O")):
        if tag == "O" and letter_before == "O":
            type_before = "_"
            continue
        if not tag:
            raise DataError(
                f"The tag of token {place} is empty. A letter such as O, B or I was expected. Give the token "
                "a tag."
            )
        letter, kind = tag[0], _read_type(tag)
        changes = kind != type_before
        if _ends(letter_before, letter, changes=changes):
            spans.append(Span(type_before, start, place))
        if _begins(letter_before, letter, changes=changes):
            start = place
        letter_before, type_before = letter, kind
    return spans


def is_span_labelling(labels: Sequence[str]) -> bool:
    """Whether labels mark spans (`B-LOC`, `I-LOC`, `O`) and are scored by entities.

    Example:
        >>> is_span_labelling(["O", "B-LOC"]), is_span_labelling(["NOUN", "VERB"])
        (True, False)
    """
    return any(label[:2] in ("B-", "I-") for label in labels)


def describe_odd_tags(labels: Sequence[str], *, source: str) -> str | None:
    """Say how tags without a hyphen are read beside tags that mark spans, or give None where there are none.

    Args:
        labels: The tags of a file.
        source: The file, for the sentence.

    Example:
        >>> describe_odd_tags(["O", "B-LOC", "I-LOC"], source="train.conll")
        >>> describe_odd_tags(["NOUN", "VERB"], source="train.conll")
    """
    odd = sorted(label for label in labels if label != "O" and label[1:2] != "-")
    if not odd or not is_span_labelling(labels):
        return None
    told = ", ".join(f"'{tag}' ({_describe_reading(tag)})" for tag in odd)
    return (
        f"{source} has tags without a hyphen after the first letter, beside such as B-LOC. They are learned as they "
        f"are, and scores read all after the first letter as an entity's type: {told}. Expected O, or a letter, a "
        "hyphen and a type. Correct them in the file if they are not meant so."
    )


def score_spans(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> SpanScore:
    """Compare the entities of predicted tags with those of gold tags; equals seqeval's default scores.

    Args:
        gold: Tags of each sentence.
        predicted: Tags of each sentence, as many as the gold ones.

    Raises:
        DataError: Sentences or tags are not equally many.

    Example:
        >>> score_spans([["B-PER", "O"]], [["B-PER", "B-LOC"]]).precision
        0.5
    """
    num_correct: Counter[str] = Counter()
    num_predicted: Counter[str] = Counter()
    num_gold: Counter[str] = Counter()
    for expected, found in _pair_spans(gold, predicted):
        num_correct.update(span.type for span in expected & found)
        num_predicted.update(span.type for span in found)
        num_gold.update(span.type for span in expected)
    by_type = {
        name: SpanCounts(num_correct[name], num_predicted[name], num_gold[name])
        for name in sorted({*num_gold, *num_predicted})
    }
    total = sum(by_type.values(), start=SpanCounts())
    return SpanScore(
        precision=total.precision,
        recall=total.recall,
        f1=total.f1,
        by_type={
            name: TypeScore(
                precision=counts.precision,
                recall=counts.recall,
                f1=counts.f1,
                num_gold=counts.gold,
                num_predicted=counts.predicted,
            )
            for name, counts in by_type.items()
        },
        num_gold=total.gold,
        num_predicted=total.predicted,
    )


def span_counts_per_sentence(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> NDArray[np.int64]:
    """Count correct, predicted and gold entities of each sentence, for a bootstrap over sentences.

    Args:
        gold: Tags of each sentence.
        predicted: Tags of each sentence, as many as the gold ones.

    Raises:
        DataError: Sentences or tags are not equally many.

    Example:
        >>> span_counts_per_sentence([["B-PER", "O"]], [["B-PER", "B-LOC"]]).tolist()
        [[1, 2, 1]]
    """
    rows = [
        (len(expected & found), len(found), len(expected)) for expected, found in _pair_spans(gold, predicted)
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def f1_of_counts(counts: NDArray[np.number]) -> NDArray[np.float64]:
    """Give the F1 of counts whose last axis is correct, predicted, gold.

    Args:
        counts: Any number of axes before the last, which has three entries.

    Example:
        >>> float(f1_of_counts(np.array([1, 2, 1])))
        0.6666666666666666
    """
    found = counts[..., 1] + counts[..., 2]
    return np.where(found > 0, 2 * counts[..., 0] / np.maximum(found, 1), 0.0)


def _describe_reading(tag: str) -> str:
    spans = read_spans([tag])
    return f"type '{spans[0].type}'" if spans else "no entity"


def _read_type(tag: str) -> str:
    rest = tag[1:]
    return (rest.partition("-")[2] if "-" in rest else rest) or "_"


def _ends(before: str, letter: str, *, changes: bool) -> bool:
    if before in "ES" or (before not in _OUTSIDE and changes):
        return True
    return before in "BI" and letter in "BSO"


def _begins(before: str, letter: str, *, changes: bool) -> bool:
    if letter in "BS" or (letter not in _OUTSIDE and changes):
        return True
    return before in "ESO" and letter in "EI"


def _pair_spans(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> list[tuple[set[Span], set[Span]]]:
    if len(gold) != len(predicted):
        raise DataError(
            f"There are {len(gold)} gold sentences and {len(predicted)} predicted ones. Equally many were "
            "expected. Predict every sentence once."
        )
    pairs: list[tuple[set[Span], set[Span]]] = []
    for number, (expected, found) in enumerate(zip(gold, predicted, strict=True)):
        if len(expected) != len(found):
            raise DataError(
                f"Sentence {number} has {len(expected)} gold tags and {len(found)} predicted ones. Equally "
                "many were expected. Predict one tag for every word, cut-off words included."
            )
        pairs.append((set(read_spans(expected)), set(read_spans(found))))
    return pairs
