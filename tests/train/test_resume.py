"""A training that goes on from a checkpoint ends with the same bytes as one that was never stopped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import make_base
from tests.train.material import encode_sentences, make_training, read_bytes, run

from polygraft.attach.attach import Attachment
from polygraft.train.checkpoint import Checkpoints
from polygraft.train.labels import Labelling
from polygraft.train.loop import Interrupted

STEPS = 8


def score(attachment: Attachment) -> float:
    """A held-out score that goes up and down."""
    data = encode_sentences(attachment.base, count=6)
    loss = Labelling(data).compute_loss(attachment, data.lengths.argsort(), seed=0, step=0)
    return round(-float(loss.mean), 1)


def make(name: str, **changes: Any):
    evaluate = score if name == "tokens" else None
    return make_training(name, steps=STEPS, evaluate=evaluate, evaluate_every=2, clip=0.2, **changes)


@cache
def train_through(name: str) -> tuple[dict[str, bytes], str]:
    training = make(name)
    run(training)
    return read_bytes(training.graft), repr((training.progress.best, training.progress.curve))


@pytest.mark.parametrize("stop", range(1, STEPS + 1))
@pytest.mark.parametrize("name", ["mlm", "tokens"])
def test_stopping_after_any_step_changes_nothing(name: str, stop: int, tmp_path: Path):
    checkpoints = Checkpoints(tmp_path, key="k")
    seen: list[int] = []
    first = make(name, checkpoints=checkpoints, should_stop=lambda: seen[-1] == stop)
    with pytest.raises(Interrupted) as caught:
        for step in first.run():
            seen.append(step.number)
    assert str(caught.value) == (
        f"Training of 'new' was stopped after step {stop} of {STEPS}, and all of it is saved. Give the same command "
        "again to go on."
    )
    second = make(name, checkpoints=checkpoints)
    assert [step.number for step in run(second)] == list(range(stop + 1, STEPS + 1))
    assert (read_bytes(second.graft), repr((second.progress.best, second.progress.curve))) == train_through(
        name
    )
    assert second.progress.seconds > first.progress.seconds or stop == STEPS
    assert second.progress.scoring_seconds >= first.progress.scoring_seconds
    assert (first.progress.scoring_seconds > 0) == (name == "tokens" and stop >= 2)
    assert second.progress.tokens == sum(
        sum(second.objective.lengths()[rows]) for update in second.updates for rows in update
    )


def test_a_stop_at_every_step_changes_nothing(tmp_path: Path):
    for stops in range(STEPS):
        training = make("tokens", checkpoints=Checkpoints(tmp_path, key="k"), should_stop=lambda: True)
        with pytest.raises(Interrupted, match=f"after step {stops + 1} of"):
            run(training)
    last = make("tokens", checkpoints=Checkpoints(tmp_path, key="k"))
    assert run(last) == []
    assert read_bytes(last.graft) == train_through("tokens")[0]


def test_the_largest_size_is_remembered_over_a_stop(tmp_path: Path):
    first = make("tokens", checkpoints=Checkpoints(tmp_path, key="k"), should_stop=lambda: True)
    steps = first.run()
    next(steps)
    # As if much had been held and freed again.
    first.memory.peak = first.memory.start + 2**40
    with pytest.raises(Interrupted):
        next(steps)
    cost = first.measure_cost()
    again = make("tokens", checkpoints=Checkpoints(tmp_path, key="k"))
    run(again)
    for key in ("peak_memory_bytes", "peak_memory_above_start_bytes"):
        assert again.measure_cost()[key] == cost[key] >= 2**40


def test_a_process_that_dies_goes_on_from_the_last_checkpoint(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path, key="k")
    # Kept, so that nothing tells it that nobody wants more of it.
    steps = make("mlm", checkpoints=checkpoints, checkpoint_every=3).run()
    assert [next(steps).number for _ in range(8)][-1] == 8
    again = make("mlm", checkpoints=checkpoints, checkpoint_every=3)
    assert [step.number for step in run(again)] == [7, 8]
    assert read_bytes(again.graft) == train_through("mlm")[0]


def test_a_damaged_checkpoint_is_told_and_the_one_before_taken(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path, key="k")
    run(make("mlm", checkpoints=checkpoints, checkpoint_every=3))
    newest = max(tmp_path.iterdir())
    (newest / "state.safetensors").write_bytes(b"")
    told: list[str] = []
    again = make("mlm", checkpoints=checkpoints, notify=told.append)
    assert [step.number for step in run(again)] == [4, 5, 6, 7, 8]
    assert told == [
        f"The checkpoint {newest.name} in {tmp_path} cannot be read (ValueError); training goes on from the one "
        "before, or from the start if there is none.",
        f"Training of '{again.graft.name}' goes on after step 3 of 8.",
    ]
    assert read_bytes(again.graft) == train_through("mlm")[0]


def test_a_training_with_damaged_checkpoints_only_starts_anew(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path, key="k")
    run(make("mlm", checkpoints=checkpoints, checkpoint_every=5))
    (next(tmp_path.iterdir()) / "state.json").write_text("{")
    told: list[str] = []
    again = make("mlm", checkpoints=checkpoints, notify=told.append)
    assert len(run(again)) == STEPS
    assert len(told) == 1
    assert read_bytes(again.graft) == train_through("mlm")[0]


def test_a_training_that_started_anew_over_damaged_checkpoints_can_be_stopped_again(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path, key="k")
    run(make("mlm", checkpoints=checkpoints, checkpoint_every=3))
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 2
    for path in paths:
        (path / "state.json").write_text("{")
    seen: list[int] = []
    again = make("mlm", checkpoints=Checkpoints(tmp_path, key="k"), should_stop=lambda: seen[-1] == 2)
    with pytest.raises(Interrupted, match="after step 2 of 8, and all of it is saved"):
        for step in again.run():
            seen.append(step.number)
    told: list[str] = []
    last = make("mlm", checkpoints=Checkpoints(tmp_path, key="k"), notify=told.append)
    assert [step.number for step in run(last)] == [3, 4, 5, 6, 7, 8]
    assert told == [f"Training of '{last.graft.name}' goes on after step 2 of 8."]
    assert read_bytes(last.graft) == train_through("mlm")[0]


def test_checkpoints_of_another_training_are_not_used(tmp_path: Path):
    run(make("mlm", checkpoints=Checkpoints(tmp_path, key="other"), checkpoint_every=3))
    again = make("mlm", checkpoints=Checkpoints(tmp_path, key="k"))
    assert len(run(again)) == STEPS
    assert read_bytes(again.graft) == train_through("mlm")[0]


def test_patience_that_was_at_its_end_stays_so(tmp_path: Path):
    options: dict[str, Any] = {"patience": 1, "evaluate": lambda attachment: 0.0, "evaluate_every": 2}
    checkpoints = Checkpoints(tmp_path, key="k")
    base = make_base("bert")
    first = make_training("tokens", base=base, checkpoints=checkpoints, checkpoint_every=4, **options)
    assert [step.number for step in first.run()] == [1, 2, 3, 4]
    second = make_training("tokens", base=base, checkpoints=checkpoints, **options)
    assert run(second) == []
    assert read_bytes(second.graft) == read_bytes(first.graft)
