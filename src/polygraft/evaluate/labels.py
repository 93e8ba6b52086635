"""Accuracy and F1 of predicted labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polygraft.errors import DataError
from polygraft.evaluate.spans import TypeScore


@dataclass(frozen=True, kw_only=True)
class LabelScore:
    """How well labels were predicted.

    Args:
        accuracy: Share of the items with the right label.
        macro_f1: Mean of the labels' F1, each label counting the same.
        by_label: The scores of each label that is gold or predicted, sorted by name.
        num_gold: Items.
    """

    accuracy: float
    macro_f1: float
    by_label: Mapping[str, TypeScore]
    num_gold: int


def score_labels(gold: Sequence[str], predicted: Sequence[str]) -> LabelScore:
    """Compare predicted labels with gold ones; equals scikit-learn with `zero_division=0`.

    For tags, give those of all sentences in one list.

    Args:
        gold: The label of each item.
        predicted: The label of each item, in the same order.

    Raises:
        DataError: There are no items, or they are not equally many.

    Example:
        >>> score_labels(["NOUN", "VERB"], ["NOUN", "NOUN"]).accuracy
        0.5
    """
    _check_counts(len(gold), len(predicted), what="labels")
    if not gold:
        raise DataError(
            "There are no labels to score. At least one item was expected. Check what was selected."
        )
    names, numbers = np.unique(np.array([*gold, *predicted], dtype=object), return_inverse=True)
    expected, found = numbers[: len(gold)], numbers[len(gold) :]
    right = expected == found
    num_correct = np.bincount(expected[right], minlength=len(names))
    num_gold = np.bincount(expected, minlength=len(names))
    num_predicted = np.bincount(found, minlength=len(names))
    f1 = 2 * num_correct / (num_gold + num_predicted)
    return LabelScore(
        accuracy=float(right.mean()),
        macro_f1=float(f1.mean()),
        by_label={
            str(name): TypeScore(
                precision=float(num_correct[at] / max(1, num_predicted[at])),
                recall=float(num_correct[at] / max(1, num_gold[at])),
                f1=float(f1[at]),
                num_gold=int(num_gold[at]),
                num_predicted=int(num_predicted[at]),
            )
            for at, name in enumerate(names)
        },
        num_gold=len(gold),
    )


def label_counts_per_sentence(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> NDArray[np.int64]:
    """Count right and all labels of each sentence, for a bootstrap over sentences.

    Args:
        gold: Labels of each sentence; for one label a text, lists of one.
        predicted: Labels of each sentence, as many as the gold ones.

    Raises:
        DataError: Sentences or labels are not equally many.

    Example:
        >>> label_counts_per_sentence([["NOUN", "VERB"]], [["NOUN", "NOUN"]]).tolist()
        [[1, 2]]
    """
    _check_counts(len(gold), len(predicted), what="sentences")
    rows: list[tuple[int, int]] = []
    for expected, found in zip(gold, predicted, strict=True):
        _check_counts(len(expected), len(found), what=f"labels in sentence {len(rows)}")
        rows.append((sum(map(str.__eq__, expected, found)), len(expected)))
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def accuracy_of_counts(counts: NDArray[np.number]) -> NDArray[np.float64]:
    """Give the accuracy of counts whose last axis is right labels, all labels.

    Args:
        counts: Any number of axes before the last, which has two entries.

    Example:
        >>> float(accuracy_of_counts(np.array([1, 2])))
        0.5
    """
    return counts[..., 0].astype(np.float64) / np.maximum(counts[..., 1], 1).astype(np.float64)


def _check_counts(num_gold: int, num_predicted: int, *, what: str) -> None:
    if num_gold != num_predicted:
        raise DataError(
            f"There are {num_gold} gold {what} and {num_predicted} predicted ones. Equally many were "
            "expected. Predict every item once."
        )
