"""How much better one condition scores than another on the same test sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polygraft.evaluate.bootstrap import Score, paired_bootstrap
from polygraft.evaluate.labels import accuracy_of_counts, label_counts_per_sentence
from polygraft.evaluate.result import Result
from polygraft.evaluate.spans import f1_of_counts, span_counts_per_sentence

Labels = Sequence[Sequence[str]]
Count = Callable[[Labels, Labels], NDArray[np.int64]]
"""Counts of each sentence, from the right labels and the predicted ones."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """The difference of two scores on one test set, with a paired bootstrap over its sentences.

    Two intervals of single scores may overlap where this one leaves no doubt: both conditions find the same
    sentences easy or hard, and that part of chance cancels out (Koehn 2004).
    """

    task: str
    language: str
    metric: str
    condition: str
    """The condition that is looked at, such as `target`."""
    other: str
    """The condition that it is compared with, such as `source`."""
    gain: float
    """Its score minus the other's, between -1 and 1."""
    low: float
    """Lower end of the gain's 95 % interval."""
    high: float
    """Upper end of the gain's 95 % interval."""
    p_value: float
    """Two-sided: how often chance alone would give a gain of the other sign, or none."""
    seed: int
    """The seed of the training."""
    method: str = ""
    """The method that was trained, where several are compared."""
    source: str = ""
    """The language of the labels that were learned, where that is known."""


def counts_spans(metric: str) -> bool:
    """Whether a metric counts spans of words; else it counts labels, one a word or one a text.

    Example:
        >>> counts_spans("f1"), counts_spans("accuracy")
        (True, False)
    """
    return metric == "f1"


def find_scoring(metric: str) -> tuple[Count, Score]:
    """Give what counts the sentences for a metric, and what makes a score of summed counts.

    Args:
        metric: "f1" of entities, or "accuracy".
    """
    if counts_spans(metric):
        return span_counts_per_sentence, f1_of_counts
    return label_counts_per_sentence, accuracy_of_counts


def measure_gain(result: Result, other: Result, *, gold: Labels, predicted: Labels, against: Labels) -> Gain:
    """Compare two conditions of one task, language and seed.

    Args:
        result: The score of the condition that is looked at.
        other: The score of the other one.
        gold: The labels of the test set, a row a sentence.
        predicted: What the first condition gave.
        against: What the other one gave.

    Raises:
        DataError: The two have not the same number of sentences.
    """
    counts, score = find_scoring(result.metric)
    found = paired_bootstrap(counts(gold, predicted), counts(gold, against), score)
    return Gain(
        task=result.task,
        language=result.language,
        metric=result.metric,
        condition=result.condition,
        other=other.condition,
        gain=result.score - other.score,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        seed=result.seed,
        method=result.method,
        source=result.source,
    )
