"""Shows the plan of a run: what each step does and is likely to take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polygraft.cli.console import say
from polygraft.report.cells import DASH, Cell, Table
from polygraft.report.numbers import format_bytes, format_seconds

if TYPE_CHECKING:
    from polygraft.recipe.events import PlannedStep, RunPlan, RunPlanned


def warn(plan: RunPlan) -> None:
    """Say what does not fit on this machine, and what was not tried."""
    for sentence in plan.warnings:
        say(f"warning: {sentence}", style="yellow")
    if plan.num_untried:
        kinds = "kind of work was" if plan.num_untried == 1 else "kinds of work were"
        say(
            f"{plan.num_untried} {kinds} not tried beforehand, so as not to keep the run waiting. `polygraft plan` "
            "tries them all."
        )


def describe_plan(event: RunPlanned) -> dict[str, object]:
    """Give a plan as JSON has it."""
    from polygraft.report.reader import to_plain

    plan = event.plan
    return {
        "folder": str(event.folder),
        "seconds": plan.seconds,
        "memory_bytes": plan.memory_bytes,
        "above_bytes": plan.above_bytes,
        "kept_bytes": plan.kept_bytes,
        "passing_bytes": plan.passing_bytes,
        "warnings": list(plan.warnings),
        "steps": to_plain(plan.steps),
    }


def draw_plan(plan: RunPlan) -> Table:
    """Lay out the steps of a run with what each is likely to take.

    Memory is the largest that the process takes, beside it what comes on top of the loaded base; disk is what
    stays, beside it the most that checkpoints and caches take on the way.
    """
    return Table(
        ident="plan",
        caption="The steps of the run",
        columns=("", "Step", "What it does", "Time", "Memory", "Disk"),
        numeric=(True, False, False, True, True, True),
        rows=tuple(_make_row(number, step) for number, step in enumerate(plan.steps, start=1)),
        foot=(
            Cell(text=""),
            Cell(text="All"),
            Cell(text=""),
            Cell(text=_say_whole_time(plan)),
            _size_cell(plan.memory_bytes, note=_say_more(plan.above_bytes)),
            _size_cell(plan.kept_bytes, note=_say_more(plan.passing_bytes)),
        ),
    )


def _make_row(number: int, step: PlannedStep) -> tuple[Cell, ...]:
    is_done = step.is_done
    return (
        Cell(text=str(number)),
        Cell(text=step.name, code=True),
        Cell(text=step.description),
        Cell(text="done" if is_done else _say_time(step.seconds, is_bound=step.is_bound)),
        _size_cell(step.memory_bytes, note=_say_more(step.above_bytes)),
        _size_cell(step.kept_bytes, note=_say_more(step.passing_bytes)),
    )


def _say_whole_time(plan: RunPlan) -> str:
    if plan.seconds is None and plan.least_seconds > 0:
        return f"over {format_seconds(plan.least_seconds)}"
    return _say_time(plan.seconds)


def _say_time(seconds: float | None, *, is_bound: bool = False) -> str:
    if seconds is None:
        return DASH
    if seconds < 1:
        return "under 1 s"
    return f"{'at most' if is_bound else 'about'} {format_seconds(seconds)}"


def _say_more(num_bytes: int | None) -> str | None:
    return f"+{format_bytes(num_bytes)}" if num_bytes else None


def _size_cell(num_bytes: int | None, *, note: str | None) -> Cell:
    return Cell(text=DASH if num_bytes is None else format_bytes(num_bytes), note=note)
