"""What steps take beside what was expected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.recipe.material import find_end, load, run_all

from polygraft.recipe.events import PlannedStep, RunPlan, RunPlanned, StepFinished
from polygraft.recipe.meter import Meter
from polygraft.recipe.taken import load_taken


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a meter asks of a step."""

    name: str
    digest: str


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
    assert find_end(events).summary.seconds == sum(finished.values())
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
def test_what_steps_took_in_an_earlier_sitting_is_told_with_what_was_expected_then():
    run_all(load(), only=["language"])
    first = find_end(run_all(load())).summary
    events = run_all(load(), only=["task.ner"])
    plan, again = cast("RunPlanned", events[0]).plan, find_end(events).summary
    assert plan.seconds == 0
    assert (plan.memory_bytes, plan.above_bytes, plan.kept_bytes, plan.passing_bytes) == (None, None, 0, 0)
    assert again.steps == first.steps
    assert all(step.seconds is not None and step.predicted_bytes is not None for step in again.steps)
    assert again.seconds == pytest.approx(sum(step.seconds or 0.0 for step in again.steps))
    assert (first.num_sittings, again.num_sittings) == (2, 2)
    assert [len(step.sittings) for step in again.steps] == [1] * len(again.steps)
    page = (load().folder / "report.html").read_text()
    assert 'id="planned"' in page
    assert "in two sittings" in page


@pytest.mark.usefixtures("here")
def test_a_step_that_was_stopped_took_what_it_took_in_all_sittings():
    workshop, job = cast("Any", SimpleNamespace(num_bytes_stored=0)), cast("Any", Step(name="0", digest="d"))
    plan, folder = make_meter(10.0).plan, Path("taken")
    with (
        pytest.raises(KeyboardInterrupt),
        Meter(plan, folder=folder, began="one").measure(workshop, job, scores=Path("scores")),
    ):
        raise KeyboardInterrupt
    stopped = load_taken(folder, "d")
    assert stopped is not None
    assert (stopped.is_done, stopped.sittings, stopped.predicted_seconds) == (False, ("one",), 10.0)
    with Meter(make_meter(4.0).plan, folder=folder, began="two").measure(
        workshop, job, scores=Path("scores")
    ):
        pass
    done = load_taken(folder, "d")
    assert done is not None
    assert (done.is_done, done.sittings, done.predicted_seconds) == (True, ("one", "two"), 10.0)
    assert done.seconds > stopped.seconds


@pytest.mark.usefixtures("here")
def test_what_a_step_took_is_kept_whole_and_what_cannot_be_read_is_not_told():
    Path("steps").mkdir()
    Path("steps/d.json").write_text('{"seconds": 3')
    assert load_taken(Path("steps"), "d") is None
    assert load_taken(Path("steps"), "e") is None


@pytest.mark.usefixtures("here")
def test_what_the_training_of_grafts_took_is_told_of_those_that_another_run_made():
    first = find_end(run_all(load())).summary
    other = find_end(run_all(load("name=other"))).summary
    costs = {graft.name: graft.seconds for graft in first.grafts}
    took = {step.name: step.seconds for step in other.steps}
    assert (took["task.ner"], took["language.qu"]) == (costs["ner"], costs["qu"])
    assert other.predicted_seconds is None
    assert other.num_sittings == 1
