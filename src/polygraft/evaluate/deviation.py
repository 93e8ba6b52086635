"""How far the scores of several seeds lie apart."""

from __future__ import annotations

import math
from collections.abc import Sequence


def standard_deviation(values: Sequence[float]) -> float:
    """Give the standard deviation of a sample (n - 1); what is no number makes it none.

    Args:
        values: At least two.

    Example:
        >>> standard_deviation([0.5, 0.75, 1.0])
        0.25
    """
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
