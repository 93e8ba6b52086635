"""Plots of scores as inline SVG: dots with intervals, and a heat map."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from polygraft.report.heat import Box, Layout, draw_cell, head_languages, plot_map
from polygraft.report.languages import language_name
from polygraft.report.numbers import format_score
from polygraft.report.scores import Grid, GridCell
from polygraft.report.svg import Scale, choose_ticks, cut_text, element, picture

WIDE = 912
"""Width in pixels of a plot on a desk."""
NARROW = 328
"""Width in pixels of a plot on a phone."""

_ROW = 24
_SERIES = {
    **{name: number for number, name in enumerate(("none", "task alone", "source", "target"))},
    **{
        name: 7 + number
        for number, name in enumerate(("random", "other", "nearest", "average", "drop-last", "no-invertible"))
    },
}
"""Numbers of the known conditions' colours and markers; 4 to 6 are for others."""
_FIRST_OTHER = 4


def plot_intervals(grid: Grid, *, ident: str, width: int = WIDE) -> Markup:
    """Draw every score as a dot on its 95 % interval, grouped by language.

    Args:
        grid: What to draw.
        ident: Unique in the page.
        width: In pixels; below 600 the languages stand above their rows.
    """
    wide = width >= 600
    left, right = (264, 128) if wide else (92, 42)
    scale = _score_scale(grid, start=left, end=width - right)
    ticks = choose_ticks(scale.low, scale.high, count=6 if wide else 5)
    rows: list[Markup] = []
    y = 8.0
    for language in grid.languages:
        present = [c for c in grid.conditions if (language, c) in grid.cells]
        rows.append(
            element(
                "text",
                cut_text(_heading(grid, language), room=124 if wide else width),
                x=0,
                y=y + 16,
                class_="group",
            )
        )
        y += 0 if wide else _ROW
        for condition in present:
            rows.append(_interval_row(grid, language, condition, scale=scale, y=y + _ROW / 2, width=width))
            y += _ROW
        y += 8
        rows.append(element("line", x1=0, x2=width, y1=y - 4, y2=y - 4, class_="rule"))
    lines = [
        Markup("").join(
            (
                element("line", x1=scale(tick), x2=scale(tick), y1=4, y2=y, class_="gridline"),
                element(
                    "text",
                    _tick_text(tick, metric=grid.metric),
                    x=scale(tick),
                    y=y + 16,
                    class_="tick",
                    text_anchor="middle",
                ),
            )
        )
        for tick in ticks
        if scale.low <= tick <= scale.high
    ]
    return picture(
        *lines,
        *rows,
        title=f"Scores of {grid.title} with 95 % intervals",
        description=describe_grid(grid),
        width=width,
        height=y + 24,
        ident=ident,
        class_="plot dots",
    )


def plot_heat_map(grid: Grid, *, ident: str, width: int = WIDE) -> Markup:
    """Draw the scores as a table of coloured cells, conditions down and languages across.

    Args:
        grid: What to draw.
        ident: Unique in the page.
        width: In pixels; more languages than fit make the picture wider.
    """
    left, height, top = (116.0, 46.0, 28.0) if width >= 600 else (84.0, 42.0, 28.0)
    column = min(max((width - left) / max(len(grid.languages), 1), 48.0), 132.0)
    layout = Layout(left=left, top=top, height=height, column=column)
    low, high = heat_range(grid)
    scale = Scale(low=low, high=high, start=0.06, end=0.62)

    def draw(line: int, index: int, box: Box) -> Markup:
        return _heat_cell(grid, grid.languages[index], grid.conditions[line], scale=scale, box=box)

    return plot_map(
        head_languages(grid.languages, layout),
        [cut_text(condition, room=left - 6) for condition in grid.conditions],
        draw,
        layout=layout,
        title=f"Scores of {grid.title} by {grid.rows} and language",
        description=describe_grid(grid),
        ident=ident,
    )


def heat_range(grid: Grid) -> tuple[float, float]:
    """Give the scores between which the heat map's colour changes: those of the target languages."""
    values = [
        cell.score
        for (language, _), cell in grid.cells.items()
        if math.isfinite(cell.score) and (language in grid.targets or not grid.targets)
    ]
    ticks = choose_ticks(min(values, default=0.0), max(values, default=1.0), count=5)
    if grid.metric != "loss":
        ticks = [min(max(tick, 0.0), 1.0) for tick in ticks]
    return ticks[0], ticks[-1]


def describe_grid(grid: Grid) -> str:
    """Write all scores of a grid as text, for readers who cannot see the picture."""
    return " ".join(
        f"{language_name(language)}: "
        + ", ".join(
            f"{condition} {_value_text(grid.cells[language, condition], metric=grid.metric)}"
            for condition in grid.conditions
            if (language, condition) in grid.cells
        )
        + "."
        for language in grid.languages
    )


def series_of(condition: str, *, conditions: Sequence[str]) -> int:
    """Number a condition's colour and marker: the same in every plot and every report."""
    if condition in _SERIES:
        return _SERIES[condition]
    others = [name for name in conditions if name not in _SERIES]
    return _FIRST_OTHER + others.index(condition) % 3 if condition in others else _FIRST_OTHER


def draw_marker(series: int, *, x: float, y: float, best: bool) -> Markup:
    """Draw the marker of a series: its shape alone tells it from the others; the best one is filled."""
    paths = (
        "M-4.5-4.5h9v9h-9z",
        "M0-5.5 5.5 4.5h-11z",
        "M0-6 6 0 0 6-6 0z",
        "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z",
        "M0 5.5 5.5-4.5h-11z",
        "M-5-2h3v-3h4v3h3v4h-3v3h-4v-3h-3z",
        "M-3-5.5h6l3 5.5-3 5.5h-6l-3-5.5z",
        "M-5-4 0-1.5 5-4 2.5 0 5 4 0 1.5-5 4-2.5 0z",
        "M-5.5 0 4.5-5.5v11z",
        "M5.5 0-4.5-5.5v11z",
        "M-5.5-3h11v6h-11z",
        "M-3-5.5h6v11h-6z",
        "M0-6 5.7-1.8 3.5 5h-7l-2.2-6.8z",
    )
    return element(
        "path",
        d=paths[series % len(paths)],
        transform=f"translate({x:.1f} {y:.1f})",
        class_=f"marker series-{series}{' best' if best else ''}",
    )


def _interval_row(grid: Grid, language: str, condition: str, *, scale: Scale, y: float, width: int) -> Markup:
    cell = grid.cells[language, condition]
    series = series_of(condition, conditions=grid.conditions)
    best = grid.is_best(language, condition)
    wide = width >= 600
    value = _value_text(cell, metric=grid.metric) if wide else format_score(cell.score, metric=grid.metric)
    weight = " best" if best else ""
    name = cut_text(condition, room=124 if wide else 88)
    parts = [element("text", name, x=130 if wide else 0, y=y + 4, class_=f"label{weight}")]
    if cell.low is not None and cell.high is not None:
        ends = (scale(cell.low), scale(cell.high))
        parts.append(element("line", x1=ends[0], x2=ends[1], y1=y, y2=y, class_=f"interval series-{series}"))
        parts += [
            element("line", x1=end, x2=end, y1=y - 4, y2=y + 4, class_=f"interval series-{series}")
            for end in ends
        ]
    if scale.low <= cell.score <= scale.high:
        parts.append(draw_marker(series, x=scale(cell.score), y=y, best=best))
    parts.append(element("text", value, x=width, y=y + 4, class_=f"value{weight}", text_anchor="end"))
    return element("g", *parts)


def _heat_cell(grid: Grid, language: str, condition: str, *, scale: Scale, box: Box) -> Markup:
    cell = grid.cells.get((language, condition))
    share = 0.0 if cell is None or not math.isfinite(cell.score) else scale(cell.score)
    if grid.metric == "loss" and share:
        share = scale.start + scale.end - share
    text = "\u2013" if cell is None else format_score(cell.score, metric=grid.metric)
    hover = f"{language_name(language)}, {condition}: "
    hover += "not measured" if cell is None else _value_text(cell, metric=grid.metric)
    return draw_cell(text, hover=hover, share=share, box=box, best=grid.is_best(language, condition))


def _score_scale(grid: Grid, *, start: float, end: float) -> Scale:
    values = [
        value
        for cell in grid.cells.values()
        for value in (cell.score, cell.low, cell.high)
        if value is not None and math.isfinite(value)
    ]
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.04 * (high - low) or 0.1
    low, high = low - room, high + room
    if grid.metric != "loss":
        low, high = max(low, 0.0), min(high, 1.0)
    return Scale(low=low, high=high, start=start, end=end)


def _heading(grid: Grid, language: str) -> str:
    name = language_name(language)
    return f"{name} (source)" if language == grid.source else name


def _value_text(cell: GridCell, *, metric: str) -> str:
    text = format_score(cell.score, metric=metric)
    if cell.low is None or cell.high is None:
        return text
    return f"{text} ({format_score(cell.low, metric=metric)}\u2013{format_score(cell.high, metric=metric)})"


def _tick_text(tick: float, *, metric: str) -> str:
    return f"{tick:g}" if metric == "loss" else f"{100 * tick:.3g}"
