"""What tasks that share one set of weights took of it, as a table and as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from polygraft.report.cells import Cell, Table, count_cell
from polygraft.report.numbers import format_share
from polygraft.report.summary import GraftSummary, PackedSummary
from polygraft.report.svg import Scale, cut_text, element, picture

TITLE = "Packed into one set of weights"
_ROW = 30
_BAR = 16


def list_packed(grafts: Sequence[GraftSummary]) -> list[tuple[GraftSummary, PackedSummary]]:
    """List the grafts that share one set of weights with what each took, the first one packed first."""
    found = [(graft, graft.packed) for graft in grafts if graft.packed is not None]
    return sorted(found, key=lambda item: -item[1].left)


def packed_table(grafts: Sequence[GraftSummary]) -> Table | None:
    """Lay out what each task took and what is left after it; None where nothing was packed."""
    packed = list_packed(grafts)
    if not packed:
        return None
    rows = tuple(
        (
            Cell(text=graft.name, code=True),
            count_cell(each.own),
            Cell(text=format_share(each.share), value=each.share),
            Cell(text=format_share(each.left), value=each.left),
        )
        for graft, each in packed
    )
    return Table(
        ident="packed",
        caption=TITLE,
        columns=("Task", "Own weights", "Of all", "Left"),
        numeric=(False, True, True, True),
        rows=rows,
    )


def plot_packed(grafts: Sequence[GraftSummary], *, ident: str, width: int) -> Markup | None:
    """Draw a bar of all weights for each task: those of the tasks before it, its own, and what is left.

    Args:
        grafts: Those of a run; None comes out where none was packed.
        ident: Unique in the page.
        width: In pixels; below 600 the names stand above their bars.
    """
    packed = list_packed(grafts)
    if not packed:
        return None
    is_wide = width >= 600
    scale = Scale(low=0.0, high=1.0, start=172.0 if is_wide else 0.0, end=width - (104.0 if is_wide else 0.0))
    height = _ROW if is_wide else 2 * _ROW
    return picture(
        *(
            _draw_row(graft, each, scale=scale, y=height * number, width=width)
            for number, (graft, each) in enumerate(packed)
        ),
        title=TITLE,
        description=" ".join(_describe(graft, each) for graft, each in packed),
        width=width,
        height=height * len(packed),
        ident=ident,
        class_="plot packed",
    )


def _draw_row(graft: GraftSummary, packed: PackedSummary, *, scale: Scale, y: float, width: int) -> Markup:
    is_wide = width >= 600
    before, after = scale(1 - packed.left - packed.share), scale(1 - packed.left)
    text, bar = y + 18, y + 6 if is_wide else y + _ROW
    room = scale.start - 12 if is_wide else width - 100
    ends = {
        "below": (scale.start, before),
        "own": (before, after),
        "free": (after, scale.end),
    }
    return element(
        "g",
        element("text", cut_text(graft.name, room=room), x=0, y=text, class_="label"),
        *(
            element("rect", x=start, y=bar, width=end - start, height=_BAR, class_=name)
            for name, (start, end) in ends.items()
            if end > start
        ),
        element(
            "text", f"{format_share(packed.left)} left", x=width, y=text, class_="value", text_anchor="end"
        ),
    )


def _describe(graft: GraftSummary, packed: PackedSummary) -> str:
    return (
        f"{graft.name} took {format_share(packed.share)} of {packed.total:,} weights, and {format_share(packed.left)} "
        "were left."
    )
