"""Builds inline SVG as text, with every value escaped, and the scales that plots need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

LETTER = 7.2
"""Pixels of a letter of a label, about."""
SMALL_LETTER = 6.7
"""The same of a tick."""

Attribute = str | int | float | None
"""What an attribute may be; None leaves it out."""


def element(name: str, *children: str | Markup, **attributes: Attribute) -> Markup:
    """Build one element; plain text among the children is escaped.

    Args:
        name: The element's name.
        children: Elements made here, or plain text.
        attributes: `class_` becomes `class`, `stroke_width` becomes `stroke-width`.

    Example:
        >>> element("text", "a < b", x=1.5, class_="tick")
        Markup('<text x="1.5" class="tick">a &lt; b</text>')
    """
    opening = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _attribute(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), opening, inner)


def picture(
    *children: Markup, title: str, description: str, width: float, height: float, ident: str, class_: str
) -> Markup:
    """Wrap elements in an `<svg>` with the title and description that screen readers speak.

    Args:
        children: What is drawn.
        title: A few words.
        description: What a reader who cannot see it should know, numbers included.
        width: In pixels; the picture is never drawn larger.
        height: In pixels.
        ident: Unique in the page.
        class_: For the style sheet.
    """
    return element(
        "svg",
        element("title", title, id=f"{ident}-title"),
        element("desc", description, id=f"{ident}-desc"),
        *children,
        viewBox=f"0 0 {_attribute(width)} {_attribute(height)}",
        width=width,
        height=height,
        role="img",
        aria_labelledby=f"{ident}-title {ident}-desc",
        class_=class_,
    )


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Maps values to pixels along one axis."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Give the pixel of a value; values outside are held at the ends."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


def choose_ticks(low: float, high: float, *, count: int) -> list[float]:
    """Choose about `count` round values that cover low to high, ends included.

    Example:
        >>> choose_ticks(13.2, 41.0, count=4)
        [10.0, 20.0, 30.0, 40.0, 50.0]
    """
    span = high - low if high > low else max(abs(high), 1.0) * 0.1
    rough = span / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [round(index * step, 10) for index in range(first, last + 1)]


def cut_text(text: str, *, room: float, letter: float = LETTER) -> str:
    """Cut a text that is longer than so many pixels.

    Args:
        text: What is to be shown.
        room: Pixels that there are.
        letter: Pixels of a letter, about.
    """
    most = max(int(room / letter), 1)
    return text if len(text) <= most else text[: most - 1] + "\u2026"


def thin_out(items: Sequence[tuple[float, float]], *, most: int) -> list[tuple[float, float]]:
    """Keep at most `most` points of a curve, its ends and each stretch's extremes among them."""
    if len(items) <= most:
        return list(items)
    num_buckets = max((most - 2) // 2, 1)
    inner = items[1:-1]
    kept = [items[0]]
    for bucket in range(num_buckets):
        stretch = inner[bucket * len(inner) // num_buckets : (bucket + 1) * len(inner) // num_buckets]
        if stretch:
            ends = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
            kept.extend(sorted(ends))
    return [*kept, items[-1]]


def _attribute(value: Attribute) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)
