"""Follows a run from its plan to its results, for `run` and `quickstart`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from polygraft.cli.audience import gather_audience
from polygraft.cli.console import show_table
from polygraft.cli.interrupt import StopFlag, stop_on_signals
from polygraft.cli.loading import quieten_libraries, waiting
from polygraft.cli.planned import draw_plan, warn
from polygraft.cli.tracking import track_recipe
from polygraft.report.numbers import format_seconds
from polygraft.settings import load_launch

if TYPE_CHECKING:
    from polygraft.cli.progress import Display
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
    with (
        open_log(chosen) as opened,
        gather_audience(opened) as audience,
        track_recipe(recipe, trackers, notify=audience.lose) as tracker,
    ):
        flag = StopFlag()
        # Until it is planned nothing is done, and Ctrl-C ends it at once.
        events = start(recipe, only=only, should_stop=flag)
        with stop_on_signals(flag), closing(events):
            for event in events:
                audience.write(type(event).__name__, describe_event(event))
                show_event(event, display=audience.display)
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
) -> Generator[Event]:
    """Plan a run, which takes a while, and give its events."""
    with waiting("Loading the base and planning ..."):
        from polygraft.recipe.run import run_recipe

        quieten_libraries()
        events = run_recipe(recipe, only=only, dry_run=dry_run, should_stop=should_stop)
        first = next(events)
    return _put_first(first, events)


def _put_first(first: Event, others: Generator[Event]) -> Generator[Event]:
    yield first
    yield from others


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
