"""Pictures of what language grafts gain on text: a map of all gains, and gains against what is known of the text."""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup

from polygraft.evaluate.language_loss import BASE, LanguageLoss, TextLosses
from polygraft.report.heat import Box, Layout, draw_cell, head_languages, plot_map
from polygraft.report.languages import language_name
from polygraft.report.numbers import format_count, format_difference
from polygraft.report.svg import Scale, choose_ticks, element, picture

HEIGHT = 260.0
"""Of the plot of points."""


@dataclass(frozen=True, kw_only=True)
class Points:
    """Gains of languages' own grafts along an axis."""

    axis: str
    """What the axis says."""
    is_log: bool
    """Whether the axis shows powers of ten."""
    rows: tuple[tuple[float, LanguageLoss], ...]
    """Where each stands."""


def plot_gain_map(losses: TextLosses, *, ident: str, width: int) -> Markup:
    """Draw the gain of every graft on every text as a coloured cell, grafts down and texts across.

    Args:
        losses: What was measured.
        ident: Unique in the page.
        width: In pixels; more texts than fit make the picture wider.
    """
    is_wide = width >= 600
    left, height, top = (132.0, 40.0, 28.0) if is_wide else (84.0, 38.0, 28.0)
    texts = list(dict.fromkeys(row.language for row in losses.losses))
    grafts = [of for of in dict.fromkeys(row.of for row in losses.losses) if of != BASE]
    column = min(max((width - left) / max(len(texts), 1), 52.0), 132.0)
    most = max((abs(row.gain) for row in losses.losses if math.isfinite(row.gain)), default=0.0)
    scale = Scale(low=0.0, high=most or 1.0, start=0.04, end=0.62)
    layout = Layout(left=left, top=top, height=height, column=column)
    return plot_map(
        head_languages(texts, layout),
        [language_name(of) if is_wide else of for of in grafts],
        lambda line, index, box: _draw_gain(losses.find(texts[index], grafts[line]), scale=scale, box=box),
        layout=layout,
        title="Gain of each language graft on each text",
        description=" ".join(_describe(losses, of) for of in grafts),
        ident=ident,
    )


def plot_points(points: Points, *, ident: str, width: int) -> Markup:
    """Draw the gain of each language's own graft with its interval, along an axis.

    Args:
        points: What is drawn.
        ident: Unique in the page.
        width: In pixels.
    """
    left, right, top, bottom = 48.0, width - 72.0, 18.0, HEIGHT - 44
    across, ticks = _scale_across(points, start=left, end=right)
    ends = [end for _, row in points.rows for end in (row.gain_low, row.gain_high, 0.0) if math.isfinite(end)]
    heights = choose_ticks(min(ends, default=0.0), max(ends, default=1.0), count=5)
    down = Scale(low=heights[0], high=heights[-1], start=bottom, end=top)
    lines = [
        element(
            "g",
            element("line", x1=left, x2=right, y1=down(tick), y2=down(tick), class_="gridline"),
            element("text", f"{tick:g}", x=left - 8, y=down(tick) + 4, class_="tick", text_anchor="end"),
        )
        for tick in heights
    ]
    lines += [
        element("text", text, x=across(place), y=bottom + 18, class_="tick", text_anchor="middle")
        for place, text in ticks
    ]
    return picture(
        element("text", "gain in nats a piece", x=0, y=8, class_="axis"),
        element("text", points.axis, x=right, y=bottom + 36, class_="axis", text_anchor="end"),
        *lines,
        *(
            _draw_point(row, x=across(_place(points, value)), down=down)
            for value, row in points.rows
            if math.isfinite(row.gain)
        ),
        title=f"Gain of each language\u2019s own graft against {points.axis}",
        description=" ".join(
            f"{language_name(row.language)}: {say_gain(row)} at {value:,.4g} {points.axis}."
            for value, row in points.rows
        ),
        width=width,
        height=HEIGHT,
        ident=ident,
        class_="plot dots",
    )


def say_gain(row: LanguageLoss) -> str:
    """Write a gain with its interval."""
    gain, low, high = (
        format_difference(each, metric="loss") for each in (row.gain, row.gain_low, row.gain_high)
    )
    return f"{gain} ({low} to {high})"


def _place(points: Points, value: float) -> float:
    return math.log10(max(value, 1.0)) if points.is_log else value


def _scale_across(points: Points, *, start: float, end: float) -> tuple[Scale, list[tuple[float, str]]]:
    """Give the scale of the axis, and the marks on it with what they say."""
    values = [_place(points, value) for value, _ in points.rows] or [0.0, 1.0]
    if points.is_log:
        first, last = math.floor(min(values)), math.ceil(max(values))
        powers = range(first, max(last, first + 1) + 1)
        marks = [(float(power), format_count(10**power)) for power in powers]
    else:
        marks = [(tick, f"{tick:g}") for tick in choose_ticks(min(values), max(values), count=5)]
    return Scale(low=marks[0][0], high=marks[-1][0], start=start, end=end), marks


def _draw_point(row: LanguageLoss, *, x: float, down: Scale) -> Markup:
    is_clear = row.gain_low > 0 or row.gain_high < 0
    return element(
        "g",
        element("title", f"{language_name(row.language)}: {say_gain(row)}"),
        element(
            "line", x1=x, x2=x, y1=down(row.gain_low), y2=down(row.gain_high), class_="interval series-3"
        ),
        element(
            "circle", cx=x, cy=down(row.gain), r=4.5, class_=f"marker series-3{' best' if is_clear else ''}"
        ),
        element("text", row.language, x=x + 8, y=down(row.gain) + 4, class_="value"),
    )


def _draw_gain(row: LanguageLoss | None, *, scale: Scale, box: Box) -> Markup:
    if row is None:
        return draw_cell("\u2013", hover="not measured", share=0.0, box=box)
    return draw_cell(
        format_difference(row.gain, metric="loss"),
        hover=f"{language_name(row.of)} on {language_name(row.language)}: {say_gain(row)}",
        share=scale(abs(row.gain)) if math.isfinite(row.gain) else 0.0,
        box=box,
        colour="cold" if row.gain < 0 else "warmth",
        best=row.of == row.language,
    )


def _describe(losses: TextLosses, of: str) -> str:
    rows = [row for row in losses.losses if row.of == of]
    told = ", ".join(f"{language_name(row.language)} {say_gain(row)}" for row in rows)
    return f"{language_name(of)}: {told}."
