"""Shows what came out of a run, for `run` and `quickstart`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.text import Text

from polygraft.cli.console import say, show, show_table, write_json
from polygraft.report.cells import Table

if TYPE_CHECKING:
    from polygraft.evaluate.overlap import Overlap
    from polygraft.recipe.events import RunFinished
    from polygraft.report.joining import Run
    from polygraft.report.scores import Grid
    from polygraft.report.summary import RunSummary

GAIN = "Gain of target"
GAIN_COLUMNS = (
    "Language",
    "Text tokens",
    "Tokens per word",
    "Single characters",
    "Unknown",
    "Gain",
    "Best graft",
)
COST_COLUMNS = ("Graft", "Trained parameters", "Bytes stored", "Of a full copy", "Time", "Tokens/s")


def show_results(finished: RunFinished, *, as_json: bool) -> None:
    """Show what came out of a run: scores, costs, and where the files are."""
    from polygraft.report.joining import Run
    from polygraft.report.methods import is_compared
    from polygraft.report.planned import planned_table
    from polygraft.report.reader import to_plain

    summary, folder = finished.summary, finished.folder
    paths = {
        "results": str(folder / "results.json"),
        "table": str(folder / "results.csv"),
        "report": str(finished.report),
        **({"losses": str(folder / "losses.csv")} if summary.text_losses else {}),
    }
    if as_json:
        write_json({**paths, "summary": to_plain(summary)})
        return
    run = Run(label=summary.name, summary=summary)
    if is_compared([run]):
        show_methods(run)
    else:
        show_transfer(summary)
    show_texts(summary)
    planned = planned_table(summary.steps)
    if planned is not None:
        show_table(planned)
    for note in summary.notes:
        say(note, style="yellow")
    width = max(map(len, paths))
    show(Text("\n".join(f"{name.capitalize():<{width}}  {path}" for name, path in paths.items())))


def show_methods(run: Run) -> None:
    """Show methods side by side: scores, then costs, for each task and source; and what they forgot."""
    from polygraft.report.forgetting import forgetting_table, list_forgotten
    from polygraft.report.method_table import COSTS, method_table
    from polygraft.report.methods import build_method_grids
    from polygraft.report.scores import build_grids
    from polygraft.report.tables import describe_metric
    from polygraft.report.verdicts import write_comparison

    grids = build_method_grids([run])
    for grid in grids:
        table = method_table(grid, ident=grid.task)
        scores = pick_columns(table, [name for name in table.columns if name not in COSTS])
        show_table(replace(scores, caption=f"{grid.title}: {describe_metric(grid.metric)} by method"))
        costs = pick_columns(table, (table.columns[0], *COSTS))
        own = tuple(row for row in costs.rows if not row[0].is_under)
        show_table(replace(costs, caption=f"{grid.title}: cost by method", rows=own))
    for grid in build_grids(run.summary):
        show_gains(grid, run.summary.overlaps)
    forgotten = list_forgotten(run.summary)
    table = forgetting_table(forgotten, ident="forgetting")
    if table is not None:
        show_table(table)
    show(Text(f"{write_comparison(grids, forgotten)}. The page says how sure that is.\n"))


def show_transfer(summary: RunSummary) -> None:
    """Show each language's scores under each condition, and what each graft cost."""
    from polygraft.report.packed import packed_table
    from polygraft.report.scores import build_grids
    from polygraft.report.tables import cost_table, transfer_table

    for grid in build_grids(summary):
        columns = ("Language", *grid.conditions, GAIN)
        show_table(_without_notes(pick_columns(transfer_table(grid, ident=grid.task), columns), GAIN))
        show_gains(grid, summary.overlaps)
    packed = packed_table(summary.grafts)
    if packed is not None:
        show_table(packed)
    show_table(pick_columns(cost_table(summary.grafts, base=summary.base), COST_COLUMNS))
    show(_compare_with_copies(summary))


def show_gains(grid: Grid, overlaps: Sequence[Overlap]) -> None:
    """Show what the target's graft gains over each other condition, and others' grafts where there is none."""
    from polygraft.report.borrowed import borrowed_table, write_borrowed
    from polygraft.report.tables import gain_table

    for table in (gain_table(grid, ident=grid.task), borrowed_table(grid, ident=grid.task)):
        if table is not None:
            show_table(table)
    for sentence in write_borrowed(grid, overlaps):
        show(Text(f"{sentence}\n"))


def show_texts(summary: RunSummary) -> None:
    """Show the loss of each language's text with each language graft, where it was measured."""
    from polygraft.report.losses import loss_table, own_table

    for number, losses in enumerate(summary.text_losses):
        show_table(loss_table(losses, ident=f"losses-{number}"))
        show_table(pick_columns(own_table(losses, ident=f"own-{number}"), GAIN_COLUMNS))


def pick_columns(table: Table, names: Sequence[str]) -> Table:
    """Give a table with some of its columns, in their order."""
    places = [place for place, name in enumerate(table.columns) if name in names]
    return replace(
        table,
        columns=tuple(table.columns[place] for place in places),
        numeric=tuple(table.numeric[place] for place in places),
        rows=tuple(tuple(row[place] for place in places) for row in table.rows),
        foot=None if table.foot is None else tuple(table.foot[place] for place in places),
    )


def _without_notes(table: Table, name: str) -> Table:
    """Give a table without the second lines of one column, which are for the page."""
    place = table.columns.index(name) if name in table.columns else None
    rows = tuple(
        tuple(replace(cell, note=None) if at == place else cell for at, cell in enumerate(row))
        for row in table.rows
    )
    return replace(table, rows=rows)


def _compare_with_copies(summary: RunSummary) -> Text:
    from polygraft.report.numbers import format_bytes, format_count, format_share

    base = summary.base
    num_bytes = sum(graft.num_bytes for graft in summary.grafts)
    largest = max((graft.num_parameters for graft in summary.grafts), default=0)
    return Text(
        f"All grafts together take {format_bytes(num_bytes)}; one full copy of the base takes "
        f"{format_bytes(base.num_bytes)} ({format_share(num_bytes / base.num_bytes)}). At most "
        f"{format_count(largest)} parameters were trained at once, of {format_count(base.num_parameters)}.\n"
    )
