"""What was left of a score at each level of pruning, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from polygraft.report.numbers import format_score
from polygraft.report.summary import GraftSummary
from polygraft.report.svg import Scale, choose_ticks, element, picture

WIDTH, HEIGHT = 344, 216
LEFT, RIGHT, TOP, BOTTOM = 36.0, 84.0, 18.0, 178.0
SERIES = {"score": "retrained", "when_cut": "when cut"}
"""What a level tells, and what the picture calls it."""
APART = 14.0
"""Pixels between two words."""


def plot_levels(graft: GraftSummary, *, ident: str) -> Markup | None:
    """Draw a graft's score on held-out data against the share of weights that was pruned; None with fewer than two.

    Args:
        graft: Whose levels to draw.
        ident: Unique in the page.
    """
    curves = {key: _read_points(graft, key=key) for key in SERIES}
    curves = {key: points for key, points in curves.items() if points}
    values = [value for points in curves.values() for _, value in points]
    if len(graft.levels) < 2 or not values:
        return None
    is_score = graft.role == "task"
    ticks = choose_ticks(0.0 if is_score else min(values), max(values), count=4)
    across = Scale(low=0.0, high=1.0, start=LEFT, end=WIDTH - RIGHT)
    down = Scale(low=ticks[0], high=ticks[-1], start=BOTTOM, end=TOP)
    return picture(
        element("text", "dev score" if is_score else "held-out loss", x=0, y=8, class_="axis"),
        *(_draw_tick(tick, y=down(tick), is_score=is_score) for tick in ticks),
        *(_draw_share(share, x=across(share)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)),
        element("text", "pruned", x=WIDTH, y=BOTTOM + 32, class_="axis", text_anchor="end"),
        *_draw_curves(curves, across=across, down=down),
        title=f"Score of {graft.name} at each sparsity",
        description=_describe(curves, is_score=is_score),
        width=WIDTH,
        height=HEIGHT,
        ident=ident,
        class_="plot curve",
    )


def _read_points(graft: GraftSummary, *, key: str) -> list[tuple[float, float]]:
    """Collect (share pruned, value) of one series; a dense graft was never cut and stands in both."""
    points = [
        (level["sparsity"], level.get(key, level.get("score", math.nan)))
        for level in graft.levels
        if key in level or level["sparsity"] == 0
    ]
    return sorted(point for point in points if all(math.isfinite(value) for value in point))


def _draw_tick(tick: float, *, y: float, is_score: bool) -> Markup:
    text = f"{100 * tick:.3g}" if is_score else f"{tick:.4g}"
    return element(
        "g",
        element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="gridline"),
        element("text", text, x=LEFT - 8, y=y + 4, class_="tick", text_anchor="end"),
    )


def _draw_share(share: float, *, x: float) -> Markup:
    return element("text", f"{100 * share:.0f} %", x=x, y=BOTTOM + 18, class_="tick", text_anchor="middle")


def _draw_curves(curves: dict[str, list[tuple[float, float]]], *, across: Scale, down: Scale) -> list[Markup]:
    drawn: list[Markup] = []
    used: list[float] = []
    for key, points in curves.items():
        name = "loss" if key == "score" else "dev"
        places = [(across(share), down(value)) for share, value in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        drawn.append(element("polyline", points=path, class_=f"line {name}"))
        drawn += [element("circle", cx=x, cy=y, r=2.8, class_=f"point {name}") for x, y in places]
        x, y = places[-1]
        while any(abs(y - other) < APART for other in used):
            y -= APART
        used.append(y)
        drawn.append(element("text", SERIES[key], x=x + 7, y=y + 4, class_=f"value {name}"))
    return drawn


def _describe(curves: Mapping[str, Sequence[tuple[float, float]]], *, is_score: bool) -> str:
    metric = "f1" if is_score else "loss"
    sentences: list[str] = []
    for key, points in curves.items():
        told = ", ".join(
            f"{format_score(value, metric=metric)} at {100 * share:.3g} %" for share, value in points
        )
        sentences.append(f"{SERIES[key].capitalize()}: {told}.")
    return " ".join(sentences)
