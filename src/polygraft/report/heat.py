"""A cell of a heat map."""

from __future__ import annotations

from markupsafe import Markup

from polygraft.report.svg import element


def draw_cell(
    text: str,
    *,
    hover: str,
    share: float,
    box: tuple[float, float, float, float],
    colour: str = "warmth",
    best: bool = False,
) -> Markup:
    """Draw a coloured cell with its number.

    Args:
        text: The number.
        hover: What is said of it under the mouse.
        share: How strong the colour is, from 0 to 0.62: with more, the number could not be read.
        box: Left, top, width and height in pixels.
        colour: `warmth` for what is good, `cold` for what is not.
        best: Whether it has a frame.
    """
    x, y, width, height = box
    mark = " best" if best else ""
    return element(
        "g",
        element("title", hover),
        element("rect", x=x, y=y, width=width, height=height, rx=3, class_="cell"),
        element(
            "rect", x=x, y=y, width=width, height=height, rx=3, class_=f"{colour}{mark}", fill_opacity=share
        ),
        element(
            "text", text, x=x + width / 2, y=y + height / 2 + 5, class_=f"value{mark}", text_anchor="middle"
        ),
    )
