"""Learning curves as inline SVG: loss against steps, and the dev score where there is one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from polygraft.report.numbers import format_score
from polygraft.report.summary import GraftSummary
from polygraft.report.svg import Scale, choose_ticks, element, picture, thin_out

MOST_POINTS = 120
"""More points of a curve than this are thinned out: they would fall on the same pixels."""

_WIDTH = 284
_LEFT = 36.0
_RIGHT = 64.0


def plot_curve(graft: GraftSummary, *, ident: str) -> Markup | None:
    """Draw how a graft's loss fell and its dev score rose, or give None where nothing was kept.

    Args:
        graft: Whose curve to draw.
        ident: Unique in the page.
    """
    loss = read_points(graft.curve, key="loss")
    dev = read_points(graft.curve, key="dev")
    if not loss and not dev:
        return None
    steps = [step for step, _ in loss + dev]
    across = Scale(low=min(0.0, *steps), high=max(1.0, *steps), start=_LEFT, end=_WIDTH - _RIGHT)
    is_score = graft.role == "task"
    panels: list[Markup] = []
    top = 10.0
    if loss or not is_score:
        curves = {"loss": loss} if is_score else {"loss": loss, "dev": dev}
        panels.append(_panel(curves, label="loss", across=across, top=top, height=104, percent=False))
        top += 104 + 26
    if dev and is_score:
        panels.append(
            _panel({"dev": dev}, label="dev score", across=across, top=top, height=72, percent=True)
        )
        top += 72 + 26
    return picture(
        *panels,
        _step_axis(across, y=top - 12),
        title=f"Learning curve of {graft.name}",
        description=_describe(loss, dev, is_score=is_score),
        width=_WIDTH,
        height=top + 6,
        ident=ident,
        class_="plot curve",
    )


def read_points(curve: Sequence[Mapping[str, float]], *, key: str) -> list[tuple[float, float]]:
    """Collect (step, value) of one key; points that lack it or are no number are left out."""
    points = [
        (float(point["step"]), float(point[key])) for point in curve if "step" in point and key in point
    ]
    return sorted(point for point in points if all(math.isfinite(value) for value in point))


def _panel(
    curves: Mapping[str, list[tuple[float, float]]],
    *,
    label: str,
    across: Scale,
    top: float,
    height: float,
    percent: bool,
) -> Markup:
    values = [value for points in curves.values() for _, value in points]
    ticks = choose_ticks(min(values), max(values), count=3)
    down = Scale(low=ticks[0], high=ticks[-1], start=top + height, end=top + 16)
    metric = "f1" if percent else "loss"
    parts = [element("text", label, x=0, y=top + 4, class_="axis")]
    for tick in ticks:
        y = down(tick)
        parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="gridline"))
        text = f"{100 * tick:.3g}" if percent else f"{tick:.4g}"
        parts.append(element("text", text, x=_LEFT - 8, y=y + 4, class_="tick", text_anchor="end"))
    used: list[float] = []
    for name, points in curves.items():
        if not points:
            continue
        parts.append(_line(thin_out(points, most=MOST_POINTS), name=name, across=across, down=down))
        y = down(points[-1][1])
        y += 14 if any(abs(y - other) < 14 and y >= other for other in used) else 0
        y -= 14 if any(abs(y - other) < 14 for other in used) else 0
        used.append(y)
        last = format_score(points[-1][1], metric=metric) if percent else f"{points[-1][1]:.3g}"
        words = last if len(curves) == 1 or name == "loss" else f"dev {last}"
        parts.append(element("text", words, x=_WIDTH - _RIGHT + 7, y=y + 4, class_=f"value {name}"))
    return element("g", *parts)


def _line(points: Sequence[tuple[float, float]], *, name: str, across: Scale, down: Scale) -> Markup:
    places = [(across(step), down(value)) for step, value in points]
    path = element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places), class_=f"line {name}")
    dots = places if name == "dev" and len(places) <= 24 else places[-1:]
    return element(
        "g", path, *(element("circle", cx=x, cy=y, r=2.8, class_=f"point {name}") for x, y in dots)
    )


def _step_axis(across: Scale, *, y: float) -> Markup:
    ticks = [tick for tick in choose_ticks(across.low, across.high, count=3) if tick <= across.high]
    texts = [
        element("text", _tick_text(tick), x=across(tick), y=y, class_="tick", text_anchor="middle")
        for tick in ticks
    ]
    return element("g", *texts, element("text", "steps", x=_WIDTH, y=y, class_="axis", text_anchor="end"))


def _describe(
    loss: Sequence[tuple[float, float]], dev: Sequence[tuple[float, float]], *, is_score: bool
) -> str:
    words: list[str] = []
    for points, name, metric in ((loss, "loss", "loss"), (dev, "dev", "f1" if is_score else "loss")):
        if points:
            first, last = (format_score(points[i][1], metric=metric) for i in (0, -1))
            called = name if name == "loss" else "dev score" if is_score else "dev loss"
            begin, end = (f"{points[i][0]:.0f}" for i in (0, -1))
            words.append(f"The {called} goes from {first} at step {begin} to {last} at step {end}.")
    return " ".join(words)


def _tick_text(tick: float) -> str:
    return f"{tick:,.0f}" if tick < 100_000 else f"{tick / 1000:,g}k"
