"""Whether two numbers rise together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Give the correlation of the ranks of two lists (Spearman's), or None where one does not vary.

    Equal values share the mean of their ranks.

    Args:
        first: Numbers.
        second: As many, of the same things in the same order.

    Example:
        >>> round(rank_correlation([1, 2, 3], [10, 100, 50]), 3)
        0.5
    """
    if not first:
        return None
    ranks = [_rank(np.asarray(values, dtype=np.float64)) for values in (first, second)]
    centred = [each - each.mean() for each in ranks]
    lengths = [float(np.sqrt((each**2).sum())) for each in centred]
    if not all(lengths):
        return None
    return float((centred[0] * centred[1]).sum() / (lengths[0] * lengths[1]))


def _rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
    smaller = (values[:, None] > values).sum(axis=1)
    equal = (values[:, None] == values).sum(axis=1)
    return smaller + (equal + 1) / 2
