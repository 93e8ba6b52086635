"""How well each language's text is guessed with each language graft: the tables, and what a page shows of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from polygraft.evaluate.correlation import rank_correlation
from polygraft.evaluate.language_loss import BASE, LanguageLoss, TextFacts, TextLosses
from polygraft.report.cells import DASH, Cell, Table, count_cell
from polygraft.report.languages import language_name
from polygraft.report.loss_plots import Points, plot_gain_map, plot_points
from polygraft.report.numbers import format_difference, format_score, format_share
from polygraft.report.plots import NARROW, WIDE
from polygraft.report.summary import RunSummary

LEAST_POINTS = 4
"""Fewer languages than this have no correlation worth a number."""
AXES: Mapping[str, Callable[[TextFacts], float]] = {
    "text tokens": lambda text: float(text.num_tokens),
    "tokens per word": lambda text: text.tokens_per_word,
}
"""What the gain of a language's own graft is looked at against."""


def collect_losses(summary: RunSummary, *, prefix: str) -> list[dict[str, Any]]:
    """Gather what a page shows of each measuring of a run.

    Args:
        summary: The run.
        prefix: What its anchors begin with; unique in the page.
    """
    return [
        {
            "name": call_losses(losses),
            "gains": own_table(losses, ident=f"{prefix}own-{number}"),
            "table": loss_table(losses, ident=f"{prefix}losses-{number}"),
            "map": _draw_both(
                lambda ident, width, losses=losses: plot_gain_map(losses, ident=ident, width=width),
                f"{prefix}gain-map-{number}",
            ),
            "points": [
                {
                    "axis": axis,
                    "sentence": say_correlation(points),
                    "drawn": _draw_both(
                        lambda ident, width, points=points: plot_points(points, ident=ident, width=width),
                        f"{prefix}points-{number}-{place}",
                    ),
                }
                for place, axis in enumerate(AXES)
                for points in [list_points(losses, axis=axis)]
            ],
        }
        for number, losses in enumerate(summary.text_losses)
    ]


def call_losses(losses: TextLosses) -> str:
    """Give what tells one measuring from others: the method, where there are several, and the seed."""
    return ", ".join([*([losses.method] if losses.method else []), f"seed {losses.seed}"])


def loss_table(losses: TextLosses, *, ident: str) -> Table:
    """Lay out the losses, grafts down and texts across, with the gain over the base in each cell."""
    texts = tuple(dict.fromkeys(row.language for row in losses.losses))
    grafts = tuple(dict.fromkeys(row.of for row in losses.losses))
    best = {text: min((row for row in losses.losses if row.language == text), key=_loss).of for text in texts}
    rows = tuple(
        (
            Cell(text=call_graft(of), value=call_graft(of)),
            *(_loss_cell(losses.find(text, of), is_best=best[text] == of) for text in texts),
        )
        for of in grafts
    )
    return Table(
        ident=ident,
        caption=f"Loss of held-out text with each language graft ({call_losses(losses)}), in nats a piece",
        columns=("Graft", *(language_name(text) for text in texts)),
        numeric=(False, *(True for _ in texts)),
        rows=rows,
    )


def own_table(losses: TextLosses, *, ident: str) -> Table:
    """Lay out what each language's own graft gains on its text, beside what it learned from."""
    columns = (
        "Language",
        "Text tokens",
        "Tokens seen",
        "Tokens per word",
        "Single characters",
        "Unknown",
        "Base",
        "Own graft",
        "Gain",
        "Best graft",
    )
    return Table(
        ident=ident,
        caption=f"What a language\u2019s own graft gains on its text ({call_losses(losses)})",
        columns=columns,
        numeric=(False, *(True for _ in columns[1:-1]), False),
        rows=tuple(_own_row(losses, text) for text in losses.texts),
    )


def call_graft(of: str) -> str:
    """Give what a row or column of losses is called."""
    return "base alone" if of == BASE else language_name(of)


def list_points(losses: TextLosses, *, axis: str) -> Points:
    """List the gain of each language's own graft against something known of its text.

    Args:
        losses: What was measured.
        axis: One of `AXES`.
    """
    found = [(text, losses.find(text.language, text.language)) for text in losses.texts]
    return Points(
        axis=axis,
        is_log=axis == "text tokens",
        rows=tuple((AXES[axis](text), row) for text, row in found if row is not None),
    )


def say_correlation(points: Points) -> str:
    """Say in a sentence whether gains rise or fall along an axis."""
    count = len(points.rows)
    gains = [row.gain for _, row in points.rows]
    is_known = all(map(math.isfinite, gains))
    found = rank_correlation([x for x, _ in points.rows], gains) if is_known else None
    if count < LEAST_POINTS or found is None:
        return (
            f"These {count} languages do not say how the gain goes with {points.axis}: {LEAST_POINTS} or more would, "
            "in which both differ."
        )
    return f"Rank correlation of the gain with {points.axis} over {count} languages: {found:+.2f}."


def _own_row(losses: TextLosses, text: TextFacts) -> tuple[Cell, ...]:
    base, own = losses.find(text.language, BASE), losses.find(text.language, text.language)
    return (
        Cell(text=language_name(text.language), value=language_name(text.language), note=text.graft),
        count_cell(text.num_tokens),
        count_cell(text.num_seen),
        Cell(text=f"{text.tokens_per_word:.2f}", value=text.tokens_per_word),
        Cell(text=format_share(text.single_share), value=text.single_share),
        Cell(text=format_share(text.unknown_share), value=text.unknown_share),
        _loss_cell(base, is_best=False),
        _loss_cell(own, is_best=False),
        _gain_cell(own),
        _best_cell(losses, text.language),
    )


def _loss_cell(row: LanguageLoss | None, *, is_best: bool) -> Cell:
    if row is None:
        return Cell(text=DASH)
    note = f"{row.low:.3f}\u2013{row.high:.3f}" if row.of == BASE else _write(row.gain)
    return Cell(text=format_score(row.loss, metric="loss"), value=row.loss, note=note, best=is_best)


def _gain_cell(row: LanguageLoss | None) -> Cell:
    if row is None:
        return Cell(text=DASH)
    note = f"{_write(row.gain_low)} to {_write(row.gain_high)}"
    return Cell(text=_write(row.gain), value=row.gain, note=note, best=row.gain_low > 0)


def _best_cell(losses: TextLosses, language: str) -> Cell:
    rows = [row for row in losses.losses if row.language == language]
    if not rows:
        return Cell(text=DASH)
    best = min(rows, key=_loss)
    name = "its own" if best.of == language else call_graft(best.of)
    return Cell(text=name, value=name, note=f"{best.loss:.3f}")


def _write(gain: float) -> str:
    return format_difference(gain, metric="loss")


def _loss(row: LanguageLoss) -> float:
    """Give what tells better from worse: a loss that is no number is the worst."""
    return math.inf if math.isnan(row.loss) else row.loss


def _draw_both(draw: Callable[[str, int], Any], ident: str) -> list[Any]:
    return [draw(f"{ident}-{width}", width) for width in (WIDE, NARROW)]
