"""Corrects p-values for their number (Holm 1979)."""

from __future__ import annotations

from collections.abc import Sequence


def correct_holm(p_values: Sequence[float]) -> list[float]:
    """Give each p-value as it counts among all of its family, in their order.

    The smallest of m is multiplied by m, the next one by m - 1 and so on; none counts less than a smaller one, or more
    than 1. Calling those below 0.05 significant is wrong about any of them in at most 5 % of cases (Holm 1979, "A
    Simple Sequentially Rejective Multiple Test Procedure").

    Args:
        p_values: Those of the questions that are asked together.

    Example:
        >>> correct_holm([0.25, 0.03125, 0.0625])
        [0.25, 0.09375, 0.125]
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected
