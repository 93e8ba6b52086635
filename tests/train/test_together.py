"""Several trainings in one pass end as each would alone, and share what is computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import make_base
from tests.train.material import LABELS, encode_sentences, make_training, read_bytes, run

from polygraft.attach.graft import make_graft
from polygraft.base.base import Base
from polygraft.errors import TrainError
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.settings import Launch
from polygraft.train.checkpoint import Checkpoints
from polygraft.train.labels import Labelling
from polygraft.train.loop import Interrupted, Training
from polygraft.train.prefix import PrefixCache
from polygraft.train.processes import OneProcess
from polygraft.train.settings import compute_lr
from polygraft.train.together import run_together


def make(base: Base, objective: Labelling, seed: int, **changes: Any) -> Training:
    parts = [Bottleneck(reduction=2, skip_layers=(0,)), Head(objective="tokens", labels=LABELS)]
    graft = make_graft(base, "new", parts, seed=seed)
    options = {"steps": None, "epochs": 2, "seed": seed, **changes}
    return make_training("tokens", base=base, graft=graft, objective=objective, **options)


def test_each_ends_with_the_bits_that_it_has_alone():
    base = make_base("bert")
    alone = [make(base, Labelling(encode_sentences(base)), seed) for seed in (1, 2, 3)]
    losses = [[step.loss for step in run(training)] for training in alone]
    cache = PrefixCache()
    shared = Labelling(encode_sentences(base), cache=cache)
    together = [make(base, shared, seed, epochs=1 + seed) for seed in (1, 2, 3)]
    for training in alone[1:]:
        assert read_bytes(training.graft) != read_bytes(alone[0].graft)
    seen: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for number, step in run_together(together):
        seen[number].append(step.loss)
    assert read_bytes(together[0].graft) == read_bytes(alone[0].graft)
    assert seen[0] == losses[0]
    assert [len(found) for found in seen.values()] == [training.total for training in together]
    batches = {rows.tobytes() for update in together[0].updates for rows in update}
    assert cache.num_computed == len(batches)


def test_equal_batches_share_a_pass_without_any_room():
    base = make_base("bert")
    cache = PrefixCache(memory=0, folder=Path("/dev/null/none"))
    shared = Labelling(encode_sentences(base), cache=cache)
    trainings = [make(base, shared, 5, epochs=1), make(base, shared, 5, epochs=1)]
    total = sum(1 for _ in run_together(trainings))
    assert cache.num_computed == total // 2


def test_when_one_is_stopped_all_are_saved(tmp_path: Path):
    base = make_base("bert")

    def start() -> list[Training]:
        objective = Labelling(encode_sentences(base), cache=PrefixCache())
        return [
            make(base, objective, seed, checkpoints=Checkpoints(tmp_path / str(seed), key="k"))
            for seed in (1, 2)
        ]

    whole = [make(base, Labelling(encode_sentences(base)), seed) for seed in (1, 2)]
    for training in whole:
        run(training)
    first = start()
    first[1].should_stop = lambda: first[1].progress.step == 2
    with pytest.raises(Interrupted):
        for _ in run_together(first):
            pass
    second = start()
    numbers = [step.number for _, step in run_together(second)]
    # The first had gone on to its third step when the second was asked.
    assert numbers[:2] == [4, 3]
    assert [read_bytes(training.graft) for training in second] == [
        read_bytes(training.graft) for training in whole
    ]


def test_each_end_is_told_while_others_go_on():
    base = make_base("bert")
    trainings = [make(base, Labelling(encode_sentences(base)), seed, epochs=seed) for seed in (2, 1)]
    told: list[int] = []
    after = [len(told) for _ in run_together(trainings, finished=told.append)]
    assert told == [1, 0]
    assert (after[0], after[-1]) == (0, 1)


def spoil(training: Training, step: int) -> Training:
    """Let the loss be no number from a step on."""

    def prepare(number: int) -> None:
        if number == step:
            next(iter(training.parameters.values())).data.fill_(torch.nan)

    training.prepare = prepare
    return training


def say_spoilt(training: Training, step: int) -> str:
    lr = compute_lr(training.settings, step=step, total=training.total)
    return (
        f"The loss of 'new' is nan at step {step + 1} of {training.total}. Expected a number. Lower the learning rate "
        f"(it is {lr:g}), and train again."
    )


def test_one_that_cannot_go_on_is_left_out_and_the_others_end_as_alone():
    base = make_base("bert")
    alone = make(base, Labelling(encode_sentences(base)), 2)
    run(alone)
    told: list[str] = []
    ended: list[int] = []
    trainings = [make(base, Labelling(encode_sentences(base)), seed, notify=told.append) for seed in (1, 2)]
    spoil(trainings[0], 1)
    numbers: list[int] = []
    with pytest.raises(TrainError) as caught:
        for number, _ in run_together(trainings, finished=ended.append):
            numbers.append(number)
    sentence = say_spoilt(trainings[0], 1)
    assert str(caught.value) == sentence
    assert told == [f"{sentence} It is left out, and the others go on."]
    assert ended == [1]
    assert numbers == [0, 1, *[1] * (trainings[1].total - 1)]
    assert read_bytes(trainings[1].graft) == read_bytes(alone.graft)


def test_where_none_can_go_on_all_their_sentences_are_told():
    base = make_base("bert")
    trainings = [spoil(make(base, Labelling(encode_sentences(base)), seed), 0) for seed in (1, 2)]
    with pytest.raises(TrainError) as caught:
        list(run_together(trainings))
    assert str(caught.value) == " ".join(say_spoilt(training, 0) for training in trainings)


def test_of_several_processes_an_error_ends_all_at_once():
    base = make_base("bert")
    trainings = [make(base, Labelling(encode_sentences(base)), seed) for seed in (1, 2)]
    spoil(trainings[0], 1)
    trainings[0].processes = OneProcess()
    trainings[0].processes.launch = Launch(count=2)
    numbers: list[int] = []
    with pytest.raises(TrainError, match="The loss of 'new' is nan at step 2"):
        for number, _ in run_together(trainings):
            numbers.append(number)
    assert numbers == [0, 1]


def test_no_step_is_saved_twice_where_one_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    saved: list[tuple[str, int]] = []
    real = Checkpoints.save

    def save(self: Checkpoints, step: int, *arguments: Any) -> None:
        saved.append((self.folder.name, step))
        real(self, step, *arguments)

    monkeypatch.setattr(Checkpoints, "save", save)
    base = make_base("bert")
    objective = Labelling(encode_sentences(base))
    trainings = [
        make(
            base, objective, seed, checkpoint_every=2, checkpoints=Checkpoints(tmp_path / str(seed), key="k")
        )
        for seed in (1, 2, 3)
    ]
    trainings[0].should_stop = lambda: trainings[0].progress.step == 3
    with pytest.raises(Interrupted):
        for _ in run_together(trainings):
            pass
    assert sorted(saved) == [(seed, step) for seed in "123" for step in (2, 3)]
