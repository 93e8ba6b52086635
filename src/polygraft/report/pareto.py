"""Score against stored bytes, method by method, as inline SVG: which ones no other beats in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from polygraft.report.methods import MethodGrid
from polygraft.report.numbers import format_bytes, format_score
from polygraft.report.placing import Box, place_labels
from polygraft.report.plots import draw_marker
from polygraft.report.spreads import Spread, format_spread
from polygraft.report.svg import Scale, choose_ticks, element, picture

GRAFT, COPY = 3, 0
"""Numbers of the markers: a circle and a square."""
UNITS = ("B", "kB", "MB", "GB", "TB")
_LINE = 14.0
_WIDEST = 8.0
"""Pixels of a letter in a wide face: names must not touch in any."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A method in the plot."""

    name: str
    num_bytes: float
    spread: Spread
    is_copy: bool


def list_points(grid: MethodGrid) -> tuple[Point, ...]:
    """Give the methods whose size and mean over the target languages are known."""
    return tuple(
        Point(name=row.method, num_bytes=row.cost.num_bytes, spread=spread, is_copy=row.cost.is_copy)
        for row in grid.rows
        for spread in [row.mean]
        if spread is not None
        and math.isfinite(spread.score)
        and row.cost is not None
        and row.cost.num_bytes > 0
    )


def find_frontier(points: Sequence[Point], *, lower_is_better: bool = False) -> tuple[Point, ...]:
    """Give the points that no other beats: none is as small and better, or smaller and as good. The smallest first."""
    sign = -1.0 if lower_is_better else 1.0
    kept: list[Point] = []
    for point in sorted(points, key=lambda each: (each.num_bytes, -sign * each.spread.score)):
        if not kept or sign * point.spread.score > sign * kept[-1].spread.score:
            kept.append(point)
    return tuple(kept)


def plot_pareto(grid: MethodGrid, *, ident: str, width: int) -> Markup | None:
    """Draw score against stored bytes of a task, with the frontier; None with fewer than two methods.

    Args:
        grid: What to draw.
        ident: Unique in the page.
        width: In pixels.
    """
    points = list_points(grid)
    if len(points) < 2:
        return None
    wide = width >= 600
    height, left, right, top = (400.0, 40.0, 24.0, 24.0) if wide else (420.0, 30.0, 12.0, 24.0)
    bottom = height - 40
    across = _size_scale(points, start=left, end=width - right)
    down, ticks = _score_scale(points, metric=grid.metric, start=bottom, end=top + 8)
    frontier = find_frontier(points, lower_is_better=grid.metric == "loss")
    # Equal ones are beaten by none, either.
    kept = {(point.num_bytes, point.spread.score) for point in frontier}
    corners = _list_corners(frontier, across=across, down=down, end=width - right)
    return picture(
        element("text", "score" if grid.metric != "loss" else "loss", x=0, y=10, class_="axis"),
        element("text", "stored a task", x=width, y=height - 2, class_="axis", text_anchor="end"),
        *(_draw_tick(tick, y=down(tick), left=left, end=width - right, metric=grid.metric) for tick in ticks),
        *_draw_sizes(across, top=top, bottom=bottom, room=52.0 if wide else 40.0),
        element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in corners), class_="line frontier"),
        *(
            _draw_point(
                point, across=across, down=down, is_best=(point.num_bytes, point.spread.score) in kept
            )
            for point in points
        ),
        *_draw_names(points, across=across, down=down, area=Box(left, top, width, bottom), corners=corners),
        title=f"Score against stored bytes in {grid.title}",
        description=_describe(points, frontier, metric=grid.metric),
        width=width,
        height=height,
        ident=ident,
        class_="plot pareto",
    )


def _size_scale(points: Sequence[Point], *, start: float, end: float) -> Scale:
    """Give a scale of powers of ten that has all sizes well inside."""
    sizes = [math.log10(point.num_bytes) for point in points]
    low, high = min(sizes), max(sizes)
    room = max(0.08 * (high - low), 0.25)
    return Scale(low=low - room, high=high + room, start=start, end=end)


def _score_scale(
    points: Sequence[Point], *, metric: str, start: float, end: float
) -> tuple[Scale, list[float]]:
    values = [value for point in points for value in (point.spread.score, *(point.spread.ends or ()))]
    ticks = choose_ticks(min(values), max(values), count=5)
    if metric != "loss":
        ticks = [tick for tick in ticks if 0 <= tick <= 1] if max(values) > min(values) else ticks
    low, high = min(ticks[0], *values), max(ticks[-1], *values)
    return Scale(low=low, high=high, start=start, end=end), ticks


def _draw_tick(tick: float, *, y: float, left: float, end: float, metric: str) -> Markup:
    text = f"{tick:g}" if metric == "loss" else f"{100 * tick:.3g}"
    return element(
        "g",
        element("line", x1=left, x2=end, y1=y, y2=y, class_="gridline"),
        element("text", text, x=left - 6, y=y + 4, class_="tick", text_anchor="end"),
    )


def _draw_sizes(across: Scale, *, top: float, bottom: float, room: float) -> list[Markup]:
    """Draw the axis of sizes: every power of ten that has room, every third one at least."""
    powers = range(math.ceil(across.low), math.floor(across.high) + 1)
    apart = across(across.low + 1) - across(across.low)
    every = 1 if apart >= room else 2 if 2 * apart >= room else 3
    drawn: list[Markup] = []
    for power in powers:
        x = across(power)
        drawn.append(element("line", x1=x, x2=x, y1=top, y2=bottom, class_="gridline"))
        if power % every == 0 or len(powers) == 1:
            text = _size_text(power)
            drawn.append(element("text", text, x=x, y=bottom + 18, class_="tick", text_anchor="middle"))
    return drawn


def _size_text(power: int) -> str:
    unit = min(max(power, 0) // 3, len(UNITS) - 1)
    return f"{10 ** (power - 3 * unit):g} {UNITS[unit]}"


def _list_corners(
    frontier: Sequence[Point], *, across: Scale, down: Scale, end: float
) -> list[tuple[float, float]]:
    """Give the corners of the frontier's steps: each of its methods is the best for all sizes up to the next."""
    places = [(across(math.log10(point.num_bytes)), down(point.spread.score)) for point in frontier]
    corners = [places[0]]
    for (_, y), (x, later) in pairwise(places):
        corners += [(x, y), (x, later)]
    return [*corners, (end, places[-1][1])]


def _draw_point(point: Point, *, across: Scale, down: Scale, is_best: bool) -> Markup:
    x, y = across(math.log10(point.num_bytes)), down(point.spread.score)
    series = COPY if point.is_copy else GRAFT
    parts: list[Markup] = []
    if point.spread.ends is not None:
        low, high = (down(end) for end in point.spread.ends)
        parts.append(element("line", x1=x, x2=x, y1=low, y2=high, class_=f"interval series-{series}"))
        parts += [
            element("line", x1=x - 4, x2=x + 4, y1=y_end, y2=y_end, class_=f"interval series-{series}")
            for y_end in (low, high)
        ]
    return element("g", *parts, draw_marker(series, x=x, y=y, best=is_best))


def _draw_names(
    points: Sequence[Point],
    *,
    across: Scale,
    down: Scale,
    area: Box,
    corners: Sequence[tuple[float, float]],
) -> list[Markup]:
    places = [(across(math.log10(point.num_bytes)), down(point.spread.score)) for point in points]
    bars = [
        Box(x - 4, down(point.spread.ends[1]), x + 4, down(point.spread.ends[0]))
        for point, (x, _) in zip(points, places, strict=True)
        if point.spread.ends is not None
    ]
    bars += [Box(min(x, a), min(y, b), max(x, a), max(y, b)).grown(1) for (x, y), (a, b) in pairwise(corners)]
    sizes = [(len(point.name) * _WIDEST, _LINE) for point in points]
    boxes = place_labels(places, sizes, area=area, bars=bars)
    drawn: list[Markup] = []
    for point, (x, y), box in zip(points, places, boxes, strict=True):
        end_x, end_y = min(max(x, box.left), box.right), min(max(y, box.top), box.bottom)
        if math.hypot(end_x - x, end_y - y) > 12:
            drawn.append(element("line", x1=x, y1=y, x2=end_x, y2=end_y, class_="leader"))
        drawn.append(_draw_name(point.name, box=box, x=x))
    return drawn


def _draw_name(name: str, *, box: Box, x: float) -> Markup:
    """Draw a name from the side at which its point is."""
    if box.left > x:
        return element("text", name, x=box.left, y=box.bottom - 3, class_="label")
    if box.right < x:
        return element("text", name, x=box.right, y=box.bottom - 3, class_="label", text_anchor="end")
    middle = (box.left + box.right) / 2
    return element("text", name, x=middle, y=box.bottom - 3, class_="label", text_anchor="middle")


def _describe(points: Sequence[Point], frontier: Sequence[Point], *, metric: str) -> str:
    told = [
        f"{point.name}: {_say(point.spread, metric=metric)} for {format_bytes(point.num_bytes)}."
        for point in sorted(points, key=lambda each: each.num_bytes)
    ]
    return " ".join([*told, f"On the frontier: {', '.join(point.name for point in frontier)}."])


def _say(spread: Spread, *, metric: str) -> str:
    score, off = format_score(spread.score, metric=metric), format_spread(spread, metric=metric)
    return score if off is None else f"{score} ({off})"
