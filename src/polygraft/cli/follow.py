"""Follows a run from its plan to its results, for `run` and `quickstart`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polygraft.cli.console import show_table, write_json
from polygraft.cli.interrupt import stop_on_signals
from polygraft.cli.loading import quieten_libraries, waiting
from polygraft.cli.progress import Display, make_display
from polygraft.cli.tracking import track_recipe
from polygraft.report.cells import DASH, Cell, Table
from polygraft.report.numbers import format_seconds
from polygraft.settings import load_launch

if TYPE_CHECKING:
    from polygraft.recipe.events import Event, RunFinished, RunPlan
    from polygraft.recipe.schema import Recipe


def show_plan(recipe: Recipe, *, only: Sequence[str] = (), as_json: bool = False) -> None:
    """Show what a run would do, and do nothing."""
    from polygraft.recipe.events import RunPlanned
    from polygraft.report.reader import to_plain

    for event in _start(recipe, only=only, dry_run=True):
        if isinstance(event, RunPlanned):
            if as_json:
                plan = event.plan
                write_json(
                    {"folder": str(event.folder), "seconds": plan.seconds, "steps": to_plain(plan.steps)}
                )
            else:
                show_table(draw_plan(event.plan))


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
    with (
        open_log(chosen) as opened,
        stop_on_signals() as should_stop,
        make_display() as display,
        tracking as tracker,
    ):
        for event in _start(recipe, only=only, should_stop=should_stop):
            opened.write(type(event).__name__, describe_event(event))
            show_event(event, display=display)
            if isinstance(event, TrainStep):
                tracker.log(event.step, run=event.name)
            if isinstance(event, RunFinished):
                finished = event
    return finished


def _start(
    recipe: Recipe,
    *,
    only: Sequence[str],
    dry_run: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Run a recipe; what comes before its first event takes a while."""
    with waiting("Loading the base and planning ..."):
        from polygraft.recipe.run import run_recipe

        quieten_libraries()
        events = run_recipe(recipe, only=only, dry_run=dry_run, should_stop=should_stop)
        first = next(events)
    yield first
    yield from events


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
        case StepStarted():
            display.begin(f"[{event.index}/{event.count}] {event.description} ...", name=event.name)
        case StepSkipped():
            display.end(f"[{event.index}/{event.count}] {event.name}: {event.reason}")
        case TrainStep():
            display.advance(event.step)
        case StepFinished():
            display.end(f"{event.name}: {event.summary} ({format_seconds(event.seconds)})")
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


def draw_plan(plan: RunPlan) -> Table:
    """Lay out the steps of a run with the time that each is expected to take."""
    rows = [
        (
            Cell(text=str(number)),
            Cell(text=step.name, code=True),
            Cell(text=step.description),
            Cell(text="done" if step.is_done else _guess(step.seconds)),
        )
        for number, step in enumerate(plan.steps, start=1)
    ]
    foot = (Cell(text=""), Cell(text="All"), Cell(text=""), Cell(text=_guess(plan.seconds)))
    return Table(
        ident="plan",
        caption="The steps of the run",
        columns=("", "Step", "What it does", "Time"),
        numeric=(True, False, False, True),
        rows=tuple(rows),
        foot=foot,
    )


def _guess(seconds: float | None) -> str:
    if seconds is None:
        return DASH
    return f"about {format_seconds(seconds)}" if seconds >= 1 else "under 1 s"
