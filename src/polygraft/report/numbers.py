"""Numbers as people read them: scores, bytes, counts and durations."""

from __future__ import annotations

import math

_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB")


def format_score(value: float, *, metric: str) -> str:
    """Write a score in points of 100, or a loss as it is.

    Example:
        >>> format_score(0.5234, metric="f1"), format_score(4.2391, metric="loss")
        ('52.3', '4.239')
    """
    if not math.isfinite(value):
        return "not a number"
    return f"{value:.3f}" if metric == "loss" else f"{100 * value:.1f}"


def is_shown_as_zero(value: float, *, metric: str) -> bool:
    """Whether a difference is so small that it is written as 0.0.

    Example:
        >>> is_shown_as_zero(-0.0004, metric="f1"), is_shown_as_zero(-0.0006, metric="f1")
        (True, False)
    """
    return math.isfinite(value) and float(format_score(abs(value), metric=metric)) == 0


def format_difference(value: float, *, metric: str) -> str:
    """Write a difference of two scores with its sign.

    Example:
        >>> format_difference(-0.0312, metric="f1"), format_difference(0.02, metric="f1")
        ('\u22123.1', '+2.0')
    """
    text = format_score(abs(value), metric=metric)
    if not math.isfinite(value) or is_shown_as_zero(value, metric=metric):
        return text
    return ("\u2212" if value < 0 else "+") + text


def format_bytes(num_bytes: float) -> str:
    """Write a number of bytes with three figures and a decimal unit.

    Example:
        >>> format_bytes(512), format_bytes(1_834_000), format_bytes(471_000_000)
        ('512 B', '1.83 MB', '471 MB')
    """
    size = float(num_bytes)
    unit = 0
    while size >= 999.5 and unit < len(_BYTE_UNITS) - 1:
        size /= 1000
        unit += 1
    return f"{size:.0f} B" if unit == 0 else f"{_three_figures(size)} {_BYTE_UNITS[unit]}"


def format_count(count: float) -> str:
    """Write a count in full up to 99,999, then in thousands, millions and billions.

    Example:
        >>> format_count(48213), format_count(1_790_000), format_count(117_653_760)
        ('48,213', '1.79 million', '118 million')
    """
    if count < 100_000:
        return f"{count:,.0f}"
    if count < 999_500:
        return f"{count / 1e3:.0f} thousand"
    return (
        f"{_three_figures(count / 1e6)} million"
        if count < 999.5e6
        else f"{_three_figures(count / 1e9)} billion"
    )


def format_seconds(seconds: float) -> str:
    """Write a duration in its two largest units.

    Example:
        >>> format_seconds(0.42), format_seconds(71.2), format_seconds(8100)
        ('0.42 s', '1 min 11 s', '2 h 15 min')
    """
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two_units(whole, 60, "min", "s")
    return _two_units(round(whole / 60), 60, "h", "min")


def format_share(share: float) -> str:
    """Write a share as a percentage with two or three figures.

    Example:
        >>> format_share(0.00923), format_share(0.384), format_share(0)
        ('0.92 %', '38 %', '0 %')
    """
    percent = 100 * share
    if percent == 0:
        return "0 %"
    if percent < 0.01:
        return "under 0.01 %"
    return f"{percent:.2f} %" if percent < 1 else f"{percent:.1f} %" if percent < 10 else f"{percent:,.0f} %"


def _three_figures(size: float) -> str:
    return f"{size:.2f}" if size < 9.995 else f"{size:.1f}" if size < 99.95 else f"{size:.0f}"


def _two_units(value: int, base: int, large: str, small: str) -> str:
    first, rest = divmod(value, base)
    return f"{first} {large} {rest} {small}" if rest else f"{first} {large}"
