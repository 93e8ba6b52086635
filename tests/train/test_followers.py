"""Whoever follows the steps of a training may fail: what was done so far is saved before the error goes on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.tiny import make_base
from tests.train.material import make_objective, make_training, read_bytes, run

from polygraft.settings import Launch
from polygraft.train.checkpoint import Checkpoints
from polygraft.train.loop import Training
from polygraft.train.processes import OneProcess
from polygraft.train.together import run_together

STEPS = 6


def make(folder: Path | None = None, **changes: object) -> Training:
    given = {} if folder is None else {"checkpoints": Checkpoints(folder, key="k")}
    return make_training(
        "tokens", steps=STEPS, evaluate=lambda attachment: 0.5, evaluate_every=2, **given, **changes
    )


def read_step(folder: Path) -> int | None:
    state = Checkpoints(folder, key="k").load()
    return None if state is None else state.facts["step"]


def leave_by_error(training: Training) -> None:
    with pytest.raises(ZeroDivisionError), closing(training.run()) as steps:
        for step in steps:
            if step.number == 4:
                raise ZeroDivisionError


def leave_by_break(training: Training) -> None:
    for step in training.run():
        if step.number == 4:
            break


def leave_by_throw(training: Training) -> None:
    steps = training.run()
    for _ in range(4):
        next(steps)
    with pytest.raises(KeyboardInterrupt):
        steps.throw(KeyboardInterrupt)


def fail_when_asked_to_stop(training: Training) -> None:
    def should_stop() -> bool:
        if training.progress.step == 4:
            raise ZeroDivisionError
        return False

    training.should_stop = should_stop
    with pytest.raises(ZeroDivisionError):
        run(training)


@pytest.mark.parametrize("leave", [leave_by_error, leave_by_break, leave_by_throw, fail_when_asked_to_stop])
def test_a_training_whose_follower_fails_goes_on_after_the_step_that_was_told(
    leave: Callable[[Training], None], tmp_path: Path
):
    whole = make()
    run(whole)
    leave(make(tmp_path))
    assert read_step(tmp_path) == 4
    again = make(tmp_path)
    assert [step.number for step in run(again)] == [5, 6]
    assert read_bytes(again.graft) == read_bytes(whole.graft)
    assert repr(again.progress.curve) == repr(whole.progress.curve)


def test_an_error_goes_on_also_where_nothing_can_be_saved(tmp_path: Path):
    (tmp_path / "file").write_text("")
    training = make(tmp_path / "file" / "none")
    leave_by_error(training)
    assert training.saved_step is None


def test_an_error_inside_an_update_saves_nothing(tmp_path: Path):
    def score(attachment: object) -> float:
        raise ZeroDivisionError

    training = make(tmp_path)
    training.evaluate = score
    with pytest.raises(ZeroDivisionError):
        run(training)
    # The second update was made, and its score was not taken.
    assert training.progress.step == 2
    assert read_step(tmp_path) is None


@pytest.mark.parametrize(("index", "step"), [(0, 4), (1, None)])
def test_of_several_processes_the_first_saves_and_waits_for_none(
    index: int, step: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(OneProcess, "wait", lambda processes: pytest.fail("The others may never come."))
    training = make(tmp_path)
    steps = training.run()
    for _ in range(4):
        next(steps)
    training.processes.launch = Launch(count=2, index=index)
    steps.close()
    assert read_step(tmp_path) == step


def test_where_one_of_several_seeds_is_followed_no_more_all_are_saved(tmp_path: Path):
    base = make_base("bert")
    objective = make_objective(base, "tokens")
    trainings = [
        make_training(
            "tokens",
            base=base,
            objective=objective,
            steps=STEPS,
            seed=seed,
            checkpoints=Checkpoints(tmp_path / str(seed), key="k"),
        )
        for seed in (1, 2)
    ]
    with closing(run_together(trainings)) as steps:
        for number, step in steps:
            if (number, step.number) == (0, 3):
                break
    assert (read_step(tmp_path / "1"), read_step(tmp_path / "2")) == (3, 2)
