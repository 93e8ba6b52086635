"""How far a score would move with other test sentences: the bootstrap (Efron 1979; Koehn 2004)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polygraft.errors import DataError, OptionError

Score = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Turns summed counts (last axis) into a score."""

_CELLS = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Where a score lies with the wanted confidence.

    Args:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far one system is ahead of another on the same items.

    Args:
        mean: Mean of the resampled differences, first minus second.
        low: Lower end of their interval.
        high: Upper end of their interval.
        p_value: Two-sided: how often chance alone would give a difference of the other sign, or none.
    """

    mean: float
    low: float
    high: float
    p_value: float


def bootstrap_interval(
    per_item_counts: NDArray[np.number],
    score: Score,
    *,
    num_samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Give the percentile interval of a score over items drawn again with replacement.

    Args:
        per_item_counts: One row of counts an item, such as a sentence's correct, predicted and gold entities.
        score: Turns the sums of such rows, on the last axis, into the score.
        num_samples: How often all items are drawn. 1000 give ends that are stable to about a tenth of the
            width.
        seed: Chooses the draws; equal seeds give equal intervals.
        level: Share of the resampled scores that lie inside.

    Raises:
        DataError: There are no items.
        OptionError: A number is out of range.

    Example:
        >>> from polygraft.evaluate.spans import f1_of_counts
        >>> bootstrap_interval(np.array([[1, 1, 1], [2, 2, 2]]), f1_of_counts)
        Interval(low=1.0, high=1.0)
    """
    _check(num_samples=num_samples, level=level)
    sums = resample(per_item_counts, num_samples=num_samples, seed=seed)
    low, high = find_ends(score(sums), level=level)
    return Interval(low=low, high=high)


def paired_bootstrap(
    counts_a: NDArray[np.number],
    counts_b: NDArray[np.number],
    score: Score,
    *,
    num_samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """Compare two systems on the same items, drawn again with replacement for both alike.

    Args:
        counts_a: One row of counts an item, of the first system.
        counts_b: The same items' counts, of the second.
        score: Turns the sums of such rows, on the last axis, into the score.
        num_samples: How often all items are drawn.
        seed: Chooses the draws.
        level: Share of the resampled differences that lie inside the interval.

    Raises:
        DataError: There are no items, or the systems have not the same number of them.
        OptionError: A number is out of range.

    Example:
        >>> from polygraft.evaluate.spans import f1_of_counts
        >>> paired_bootstrap(np.array([[1, 1, 1]]), np.array([[0, 1, 1]]), f1_of_counts).mean
        1.0
    """
    _check(num_samples=num_samples, level=level)
    if counts_a.shape != counts_b.shape:
        raise DataError(
            f"The first system has counts of the shape {counts_a.shape}, the second {counts_b.shape}. The "
            "same items were expected for both. Score both systems on one test set."
        )
    both = np.concatenate([counts_a, counts_b], axis=1)
    sums = resample(both, num_samples=num_samples, seed=seed)
    width = counts_a.shape[1]
    differences = score(sums[:, :width]) - score(sums[:, width:])
    low, high = find_ends(differences, level=level)
    return Difference(mean=float(differences.mean()), low=low, high=high, p_value=find_p_value(differences))


def find_p_value(differences: NDArray[np.float64]) -> float:
    """Give the two-sided share of resampled differences that are of the other sign than most, or zero."""
    smaller_tail = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (smaller_tail + 1) / (len(differences) + 1))


def resample(counts: NDArray[np.number], *, num_samples: int, seed: int) -> NDArray[np.float64]:
    """Give the sums of the counts of `num_samples` draws of all items [num_samples, counts of an item].

    Args:
        counts: One row of counts an item.
        num_samples: How often all items are drawn.
        seed: Chooses the draws.

    Raises:
        DataError: There are no items.
    """
    num_items = len(counts)
    if counts.ndim != 2 or num_items == 0:
        raise DataError(
            f"Counts have the shape {counts.shape}. A row of counts for each of at least one item was "
            "expected. Check that the test set is not empty."
        )
    rng = np.random.default_rng(seed)
    values = counts.astype(np.float64)
    chunk = max(1, _CELLS // num_items)
    sums: list[NDArray[np.float64]] = []
    for start in range(0, num_samples, chunk):
        size = min(chunk, num_samples - start)
        drawn = rng.integers(num_items, size=(size, num_items))
        drawn += np.arange(size)[:, None] * num_items
        times = np.bincount(drawn.ravel(), minlength=size * num_items).reshape(size, num_items)
        sums.append(times @ values)
    return np.concatenate(sums)


def find_ends(values: NDArray[np.float64], *, level: float = 0.95) -> tuple[float, float]:
    """Give the ends between which a share of some values lies."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check(*, num_samples: int, level: float) -> None:
    if num_samples < 1:
        raise OptionError(
            f"num_samples is {num_samples}. At least 1 was expected. Give more draws; 1000 are common."
        )
    if not 0 < level < 1:
        raise OptionError(
            f"level is {level}. A share between 0 and 1 was expected. Give such a share; 0.95 is common."
        )
