"""What the steps of a run were expected to take, beside what they took."""

from __future__ import annotations

from collections.abc import Sequence

from polygraft.report.cells import DASH, Cell, Table
from polygraft.report.numbers import format_bytes, format_seconds
from polygraft.report.summary import StepSummary


def list_measured(steps: Sequence[StepSummary]) -> list[StepSummary]:
    """List the steps that were done and of which something was expected."""
    return [step for step in steps if step.seconds is not None and step.predicted_seconds is not None]


def planned_table(steps: Sequence[StepSummary]) -> Table | None:
    """Lay out time, memory and disk of the steps that were done, as expected and as they were; None without any.

    Args:
        steps: Those of a run.
    """
    measured = list_measured(steps)
    if not measured:
        return None
    return Table(
        ident="planned",
        caption="Expected and taken",
        columns=(
            "Step",
            "Time expected",
            "Taken",
            "Ratio",
            "Memory expected",
            "Taken",
            "Disk expected",
            "Taken",
        ),
        numeric=(False, *(True,) * 7),
        rows=tuple(_make_row(step) for step in measured),
        foot=_make_foot(measured),
    )


def _make_row(step: StepSummary) -> tuple[Cell, ...]:
    expected, taken = step.predicted_seconds or 0.0, step.seconds or 0.0
    return (
        Cell(text=step.name, code=True),
        Cell(text=f"{'at most ' if step.is_bound else ''}{format_seconds(expected)}", value=expected),
        Cell(text=format_seconds(taken), value=taken),
        _ratio_cell(taken, expected),
        _size_cell(step.predicted_memory_bytes),
        _size_cell(step.memory_bytes),
        _size_cell(step.predicted_bytes),
        _size_cell(step.num_bytes),
    )


def _make_foot(steps: Sequence[StepSummary]) -> tuple[Cell, ...]:
    """Sum times and disk, and take the largest of the memory."""
    expected = sum(step.predicted_seconds or 0.0 for step in steps)
    taken = sum(step.seconds or 0.0 for step in steps)
    return (
        Cell(text="All"),
        Cell(text=format_seconds(expected)),
        Cell(text=format_seconds(taken)),
        _ratio_cell(taken, expected),
        _size_cell(max((step.predicted_memory_bytes or 0 for step in steps), default=0) or None),
        _size_cell(max((step.memory_bytes or 0 for step in steps), default=0) or None),
        _size_cell(sum(step.predicted_bytes or 0 for step in steps)),
        _size_cell(sum(step.num_bytes or 0 for step in steps)),
    )


def _ratio_cell(taken: float, expected: float) -> Cell:
    if expected <= 0:
        return Cell(text=DASH)
    return Cell(text=f"{taken / expected:.2f}", value=taken / expected)


def _size_cell(num_bytes: int | None) -> Cell:
    return Cell(text=DASH) if num_bytes is None else Cell(text=format_bytes(num_bytes), value=num_bytes)
