"""Follows a run from its plan to its results, for `run` and `quickstart`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polygraft.cli.console import show_table
from polygraft.cli.interrupt import StopFlag, stop_on_signals
from polygraft.cli.loading import quieten_libraries, waiting
from polygraft.cli.planned import draw_plan, warn
from polygraft.cli.progress import Display, make_display
from polygraft.cli.tracking import track_recipe
from polygraft.report.numbers import format_seconds
from polygraft.settings import load_launch

if TYPE_CHECKING:
    from polygraft.recipe.events import Event, RunFinished
    from polygraft.recipe.schema import Recipe


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
