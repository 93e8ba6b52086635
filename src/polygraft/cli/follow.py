"""Follows a run from its plan to its results, for `run` and `quickstart`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from polygraft.cli.console import say, show, show_table, write_json
from polygraft.cli.interrupt import StopFlag, stop_on_signals
from polygraft.cli.loading import quieten_libraries, waiting
from polygraft.cli.planned import draw_plan, warn
from polygraft.cli.progress import Display, make_display
from polygraft.cli.tracking import track_recipe
from polygraft.report.cells import Table
from polygraft.report.numbers import format_seconds
from polygraft.settings import load_launch

if TYPE_CHECKING:
    from polygraft.recipe.events import Event, RunFinished
    from polygraft.recipe.schema import Recipe
    from polygraft.report.summary import RunSummary

GAIN = "Gain of target"
COST_COLUMNS = ("Graft", "Trained parameters", "Bytes stored", "Of a full copy", "Time", "Tokens/s")


def follow_run(
    recipe: Recipe, *, only: Sequence[str] = (), log: Path | None = None, trackers: Sequence[str] = ()
) -> RunFinished | None:
    """Run a recipe with its progress on standard error, and give its last event.

    Args:
        recipe: What to run.
        only: Names of the steps to run; none means all.
        log: The file to which each event is added as a line of JSON.
        trackers: What every update is logged to.
    """
    from polygraft.recipe.events import RunFinished, TrainStep
    from polygraft.recipe.log import open_log

    finished: RunFinished | None = None
    # Of several processes, the first one tells for all.
    chosen = log if load_launch().is_first else None
    tracking = track_recipe(recipe, trackers)
    with open_log(chosen) as opened, make_display() as display, tracking as tracker:
        flag = StopFlag()
        # Until it is planned nothing is done, and Ctrl-C ends it at once.
        events = start(recipe, only=only, should_stop=flag)
        with stop_on_signals(flag):
            for event in events:
                opened.write(type(event).__name__, describe_event(event))
                show_event(event, display=display)
                if isinstance(event, TrainStep):
                    tracker.log(event.step, run=event.name)
                if isinstance(event, RunFinished):
                    finished = event
    return finished


def start(
    recipe: Recipe,
    *,
    only: Sequence[str],
    dry_run: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Plan a run, which takes a while, and give its events."""
    with waiting("Loading the base and planning ..."):
        from polygraft.recipe.run import run_recipe

        quieten_libraries()
        events = run_recipe(recipe, only=only, dry_run=dry_run, should_stop=should_stop)
        first = next(events)
    return itertools.chain([first], events)


def show_event(event: Event, *, display: Display) -> None:
    """Show one event of a run on standard error."""
    from polygraft.recipe.events import (
        Noted,
        RunFinished,
        RunPlanned,
        StepFinished,
        StepSkipped,
        StepStarted,
        TrainStep,
    )

    match event:
        case RunPlanned():
            show_table(draw_plan(event.plan), stderr=True)
            warn(event.plan)
        case StepStarted():
            display.begin(f"[{event.index}/{event.count}] {event.description} ...", name=event.name)
        case StepSkipped():
            display.end(f"[{event.index}/{event.count}] {event.name}: {event.reason}")
        case TrainStep():
            display.advance(event.step)
        case StepFinished():
            left = "" if event.left is None else f"; about {format_seconds(event.left)} left"
            display.end(f"{event.name}: {event.summary} ({format_seconds(event.seconds)}{left})")
        case Noted():
            display.note(event.sentence)
        case RunFinished():
            display.close()


def describe_event(event: Event) -> dict[str, object]:
    """Give what a log tells of an event; the end of a run names its files instead of repeating them."""
    from polygraft.recipe.events import RunFinished, TrainStep
    from polygraft.recipe.log import as_object, describe_step

    if isinstance(event, TrainStep):
        return {"name": event.name, **describe_step(event.step)}
    facts = as_object(event)
    if isinstance(event, RunFinished):
        del facts["summary"]
    return facts


def show_results(finished: RunFinished, *, as_json: bool) -> None:
    """Show what came out of a run: scores, costs, and where the files are."""
    from polygraft.report.packed import packed_table
    from polygraft.report.planned import planned_table
    from polygraft.report.reader import to_plain
    from polygraft.report.scores import build_grids
    from polygraft.report.tables import cost_table, gain_table, transfer_table

    summary, folder = finished.summary, finished.folder
    paths = {
        "results": str(folder / "results.json"),
        "table": str(folder / "results.csv"),
        "report": str(finished.report),
    }
    if as_json:
        write_json({**paths, "summary": to_plain(summary)})
        return
    for grid in build_grids(summary):
        columns = ("Language", *grid.conditions, GAIN)
        show_table(_without_notes(pick_columns(transfer_table(grid, ident=grid.task), columns), GAIN))
        gains = gain_table(grid, ident=grid.task)
        if gains is not None:
            show_table(gains)
    packed = packed_table(summary.grafts)
    if packed is not None:
        show_table(packed)
    show_table(pick_columns(cost_table(summary.grafts, base=summary.base), COST_COLUMNS))
    planned = planned_table(summary.steps)
    if planned is not None:
        show_table(planned)
    show(_compare_with_copies(summary))
    for note in summary.notes:
        say(note, style="yellow")
    width = max(map(len, paths))
    show(Text("\n".join(f"{name.capitalize():<{width}}  {path}" for name, path in paths.items())))


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
