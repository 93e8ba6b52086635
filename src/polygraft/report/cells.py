"""What tables are made of: cells with a text to read and a key to sort by."""

from __future__ import annotations

import math
from dataclasses import dataclass

from polygraft.report.numbers import format_bytes, format_score, format_seconds, format_share

DASH = "\u2013"
"""Stands where there is no value."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: its text, a smaller second line, and its value for sorting."""

    text: str
    value: float | str | None = None
    """What the column is sorted by; None sorts last."""
    note: str | None = None
    best: bool = False
    is_close: bool = False
    """Whether it is not clearly worse than the best."""
    code: bool = False
    """Whether it is set in a fixed-width face."""
    is_under: bool = False
    """In the first cell of a row: whether the row says more of the one above it, and is sorted with it."""

    @property
    def key(self) -> str | None:
        """What the page sorts it by; None for what has no order, such as a number that is none."""
        if isinstance(self.value, float) and not math.isfinite(self.value):
            return None
        return None if self.value is None else str(self.value)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with a caption; the first cell of each row is its head."""

    ident: str
    caption: str
    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    """Which columns hold numbers: set flush right, first sorted from large to small."""
    rows: tuple[tuple[Cell, ...], ...]
    foot: tuple[Cell, ...] | None = None


def format_interval(low: float | None, high: float | None, *, metric: str) -> str | None:
    """Write an interval, or give None where an end is missing."""
    if low is None or high is None:
        return None
    return f"{format_score(low, metric=metric)}\u2013{format_score(high, metric=metric)}"


def score_cell(score: float | None) -> Cell:
    """Show a share between 0 and 1 in points of 100."""
    return Cell(text=DASH) if score is None else Cell(text=format_score(score, metric="f1"), value=score)


def perplexity_cell(perplexity: float | None) -> Cell:
    """Show a perplexity with one digit behind the point."""
    return Cell(text=DASH) if perplexity is None else Cell(text=f"{perplexity:,.1f}", value=perplexity)


def count_cell(count: float) -> Cell:
    """Show a count in full."""
    return Cell(text=f"{count:,.0f}" if count else DASH, value=count)


def bytes_cell(num_bytes: float) -> Cell:
    """Show a number of bytes."""
    return Cell(text=format_bytes(num_bytes) if num_bytes else DASH, value=num_bytes)


def seconds_cell(seconds: float) -> Cell:
    """Show a duration."""
    return Cell(text=format_seconds(seconds) if seconds else DASH, value=seconds)


def share_cell(part: float, whole: float) -> Cell:
    """Show one number as a share of another."""
    return Cell(text=format_share(part / whole), value=part / whole) if whole else Cell(text=DASH)
