"""What steps take beside what was expected."""

from __future__ import annotations

from typing import cast

import pytest
from tests.recipe.material import find_end, load, run_all

from polygraft.recipe.events import PlannedStep, RunPlan, RunPlanned, StepFinished
from polygraft.recipe.meter import Meter


def make_meter(*seconds: float | None) -> Meter:
    steps = [
        PlannedStep(name=str(place), kind="task", description="", digest="", is_done=False, seconds=each)
        for place, each in enumerate(seconds)
    ]
    return Meter(RunPlan(steps=tuple(steps)))


def test_the_time_left_is_corrected_by_what_was_taken_so_far():
    meter = make_meter(10.0, 20.0, 30.0)
    assert meter.guess_left() == 60
    meter._taken["0"] = 15.0
    assert meter.guess_left() == pytest.approx(1.5 * 50)
    meter._taken["1"] = 15.0
    assert meter.guess_left() == pytest.approx(30.0)
    meter._taken["2"] = 1.0
    assert meter.guess_left() is None


def test_nothing_is_told_of_what_is_not_known():
    assert make_meter(10.0, None).guess_left() is None


@pytest.mark.usefixtures("here")
def test_every_step_tells_what_it_took():
    events = run_all(load())
    steps = find_end(events).summary.steps
    plan = cast("RunPlanned", events[0]).plan
    assert [step.name for step in steps] == [step.name for step in plan.steps]
    finished = {event.name: event.seconds for event in events if isinstance(event, StepFinished)}
    for step, planned in zip(steps, plan.steps, strict=True):
        assert step.seconds == finished[step.name]
        assert step.predicted_seconds == planned.seconds
        assert (step.predicted_bytes, step.predicted_memory_bytes) == (
            planned.kept_bytes,
            planned.memory_bytes,
        )
    grafts = {graft.name: graft for graft in find_end(events).summary.grafts}
    for name in ("ner", "ner-alone"):
        [step] = [step for step in steps if step.name == f"task.{name}"]
        assert step.num_bytes == grafts[name].num_bytes
        assert step.memory_bytes is not None
        assert step.memory_bytes >= grafts[name].peak_memory_bytes
    scored = sum(path.stat().st_size for path in (load().folder / "scores").iterdir())
    assert steps[-1].num_bytes == scored
    # Of the bytes of scores only a rough idea is needed.
    assert steps[-1].predicted_bytes == pytest.approx(scored, rel=0.5)


@pytest.mark.usefixtures("here")
def test_of_steps_that_were_done_before_nothing_is_told():
    run_all(load())
    events = run_all(load())
    plan = cast("RunPlanned", events[0]).plan
    assert plan.seconds == 0
    assert (plan.memory_bytes, plan.above_bytes, plan.kept_bytes, plan.passing_bytes) == (None, None, 0, 0)
    for step in find_end(events).summary.steps:
        assert (step.seconds, step.predicted_seconds, step.memory_bytes, step.num_bytes) == (None,) * 4
