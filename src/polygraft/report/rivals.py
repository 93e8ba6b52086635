"""How sure it is which method is better: contests with the best one, and a map of differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from polygraft.evaluate.contest import Contest, is_clear
from polygraft.evaluate.holm import correct_holm
from polygraft.report.cells import DASH, Cell, Table
from polygraft.report.heat import Box, Layout, draw_cell, head_names, plot_map
from polygraft.report.languages import language_name
from polygraft.report.methods import MethodGrid, MethodRow
from polygraft.report.numbers import format_difference
from polygraft.report.svg import Scale, cut_text

MOST_METHODS = 16
"""A map of more methods than this cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Rival:
    """The best method of a language against another one."""

    language: str
    best: str
    other: str
    contest: Contest
    """The other's score minus the best one's: below zero where it is worse."""
    p_value: float
    """Corrected for the number of contests in the language."""

    @property
    def is_clear(self) -> bool:
        """Whether the other one is clearly worse, among all contests of the language."""
        return is_clear(self.contest, p_value=self.p_value)


def list_rivals(grid: MethodGrid) -> tuple[Rival, ...]:
    """Hold the best method of each language against every other one; those that were never compared are left out."""
    rivals: list[Rival] = []
    for language in grid.languages:
        best = grid.best(language)
        if best is None or language in grid.empty:
            continue
        others = [row.method for row in grid.rows if row.method != best.method]
        found = [grid.find_contest(language, other, best.method) for other in others]
        contests = [contest for contest in found if contest is not None]
        corrected = correct_holm([contest.p_value for contest in contests])
        rivals += [
            Rival(language=language, best=best.method, other=contest.method, contest=contest, p_value=p_value)
            for contest, p_value in zip(contests, corrected, strict=True)
        ]
    return tuple(rivals)


def list_close(grid: MethodGrid) -> frozenset[tuple[str, str]]:
    """List the languages and methods where a method is not clearly worse than the best one."""
    return frozenset((rival.language, rival.other) for rival in list_rivals(grid) if not rival.is_clear)


def rival_table(grid: MethodGrid, *, ident: str) -> Table | None:
    """Lay out how each method compares with the best one of each language; None where none were compared."""
    rivals = {(rival.language, rival.other): rival for rival in list_rivals(grid)}
    languages = [
        language for language in grid.languages if language in {rival.language for rival in rivals.values()}
    ]
    if not languages:
        return None
    rows = tuple(
        (
            Cell(text=row.method, value=row.method),
            *(_rival_cell(rivals.get((language, row.method)), row, grid, language) for language in languages),
        )
        for row in grid.rows
    )
    return Table(
        ident=ident,
        caption=f"{grid.title}: how sure it is that each method is worse than the best one",
        columns=("Method", *map(language_name, languages)),
        numeric=(False, *(True for _ in languages)),
        rows=rows,
    )


def plot_differences(grid: MethodGrid, *, ident: str, width: int) -> Markup | None:
    """Draw by how much each method's mean over the target languages is above every other's; None if it cannot be read.

    Args:
        grid: What to draw.
        ident: Unique in the page.
        width: In pixels; more methods than fit make the picture wider.
    """
    rows = [row for row in grid.rows if row.mean is not None and math.isfinite(row.mean.score)]
    if not 2 < len(rows) <= MOST_METHODS:
        return None
    left, top, height = (116.0, 28.0, 30.0) if width >= 600 else (96.0, 28.0, 30.0)
    column = min(max((width - left) / len(rows), 54.0), 90.0)
    most = max(abs(_subtract(one, two)) for one in rows for two in rows) or 1.0
    scale = Scale(low=0.0, high=most, start=0.0, end=0.62)
    layout = Layout(left=left, top=top, height=height, column=column)
    return plot_map(
        head_names([row.method for row in rows], layout),
        [cut_text(row.method, room=left - 6) for row in rows],
        lambda line, index, box: _draw_difference(grid, rows[line], rows[index], scale=scale, box=box),
        layout=layout,
        title=f"Differences of the methods in {grid.title}",
        description=" ".join(_describe(grid, row, rows) for row in rows),
        ident=ident,
    )


def _rival_cell(rival: Rival | None, row: MethodRow, grid: MethodGrid, language: str) -> Cell:
    best = grid.best(language)
    if best is not None and best.method == row.method:
        return Cell(text="best", value=0.0, best=True)
    if rival is None:
        return Cell(text=DASH)
    contest = rival.contest
    low, high = (format_difference(end, metric=grid.metric) for end in (contest.low, contest.high))
    return Cell(
        text=format_difference(contest.gain, metric=grid.metric),
        value=contest.gain,
        note=f"{low} to {high}\np {format_p(contest.p_value)}, corrected {format_p(rival.p_value)}"
        + ("" if contest.is_same_way else "\nseeds disagree"),
        is_close=not rival.is_clear,
    )


def format_p(p_value: float) -> str:
    """Write a p-value with as many digits as it is known to.

    Example:
        >>> format_p(0.031), format_p(0.0019980), format_p(1.0)
        ('0.031', '0.002', '1')
    """
    return f"{p_value:.3f}".rstrip("0").rstrip(".") if p_value >= 0.0005 else "under 0.001"


def _draw_difference(
    grid: MethodGrid,
    row: MethodRow,
    other: MethodRow,
    *,
    scale: Scale,
    box: Box,
) -> Markup:
    gain = grid.better(_subtract(row, other), 0.0)
    text = "" if row is other else format_difference(_subtract(row, other), metric=grid.metric)
    return draw_cell(
        text,
        hover=f"{row.method} against {other.method}: {text or 'itself'}",
        share=scale(abs(gain)),
        box=box,
        colour="warmth" if gain >= 0 else "cold",
    )


def _subtract(row: MethodRow, other: MethodRow) -> float:
    return 0.0 if row.mean is None or other.mean is None else row.mean.score - other.mean.score


def _describe(grid: MethodGrid, row: MethodRow, rows: Sequence[MethodRow]) -> str:
    told = [
        f"{format_difference(_subtract(row, other), metric=grid.metric)} against {other.method}"
        for other in rows
        if other is not row
    ]
    return f"{row.method}: {', '.join(told)}."
