"""Heat maps: names above and beside, and coloured cells with their numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from polygraft.report.languages import language_name
from polygraft.report.svg import SMALL_LETTER, cut_text, element, picture

Box = tuple[float, float, float, float]
"""Left, top, width and height in pixels."""
LETTER = 7.4
"""Width of a letter of a language's name."""
LEAST_WIDTH = 120.0


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the cells of a map stand, in pixels."""

    left: float
    """Room for the names of the rows."""
    top: float
    """Room for the names of the columns."""
    height: float
    """Of a row."""
    column: float
    """Width of a column."""


def head_languages(languages: Sequence[str], layout: Layout) -> list[Markup]:
    """Draw languages over the columns: their names where all of them fit, else their codes."""
    names_fit = all(len(language_name(each)) * LETTER <= layout.column - 6 for each in languages)
    return [
        element(
            "text",
            language_name(language) if names_fit else language,
            x=layout.left + (index + 0.5) * layout.column,
            y=layout.top - 10,
            class_="label",
            text_anchor="middle",
        )
        for index, language in enumerate(languages)
    ]


def head_names(names: Sequence[str], layout: Layout, *, lift: float = 10) -> list[Markup]:
    """Draw names over the columns, cut where they do not fit and whole under the mouse.

    Args:
        names: One a column.
        layout: Where the columns stand.
        lift: How far above the cells.
    """
    return [
        element(
            "text",
            cut_text(name, room=layout.column - 4, letter=SMALL_LETTER),
            element("title", name),
            x=layout.left + (index + 0.5) * layout.column,
            y=layout.top - lift,
            class_="tick",
            text_anchor="middle",
        )
        for index, name in enumerate(names)
    ]


def plot_map(
    heads: Sequence[Markup],
    names: Sequence[str],
    draw: Callable[[int, int, Box], Markup | None],
    *,
    layout: Layout,
    title: str,
    description: str,
    ident: str,
) -> Markup:
    """Draw a map: a row of cells beside each name.

    Args:
        heads: What stands over each column.
        names: What stands beside each row.
        draw: Draws the cell of a row and a column in a box; None leaves it out.
        layout: Where all of it stands.
        title: Of the picture.
        description: What it shows, in words.
        ident: Unique in the page.
    """
    body: list[Markup] = []
    for line, name in enumerate(names):
        y = layout.top + line * layout.height
        body.append(element("text", name, x=0, y=y + layout.height / 2 + 4, class_="label"))
        for index in range(len(heads)):
            x = layout.left + index * layout.column
            cell = draw(line, index, (x, y, layout.column - 3, layout.height - 3))
            if cell is not None:
                body.append(cell)
    return picture(
        *heads,
        *body,
        title=title,
        description=description,
        width=max(layout.left + layout.column * len(heads), LEAST_WIDTH),
        height=layout.top + layout.height * len(names) + 2,
        ident=ident,
        class_="plot heat",
    )


def draw_cell(
    text: str,
    *,
    hover: str,
    share: float,
    box: Box,
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
