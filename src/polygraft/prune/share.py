"""How many are a share of so many: the same whole number on every machine."""

from __future__ import annotations

from fractions import Fraction


def round_share(share: float, *, total: int) -> int:
    """Give a share of a number of places as a whole number; a half is rounded up.

    The share is taken as it is written: 0.3 of 5 is exactly one and a half, and so 2, although the float 0.3 is a
    little less.

    Args:
        share: The share, from 0 to 1.
        total: The places it is a share of.

    Example:
        >>> round_share(0.3, total=5)
        2
    """
    return _round(Fraction(repr(float(share))) * total)


def count_left(sparsity: float, *, total: int) -> int:
    """Give how many of so many places are left at a sparsity; a half is rounded up.

    Args:
        sparsity: The share that is pruned, taken as it is written.
        total: All places.

    Example:
        >>> count_left(0.9, total=15)
        2
    """
    return _round((1 - Fraction(repr(float(sparsity)))) * total)


def complement(share: float) -> float:
    """Give what a share leaves, both taken as they are written: 0.3 beside 0.7.

    Example:
        >>> complement(0.7), 1 - 0.7
        (0.3, 0.30000000000000004)
    """
    return float(1 - Fraction(repr(float(share))))


def _round(number: Fraction) -> int:
    return (2 * number.numerator + number.denominator) // (2 * number.denominator)
