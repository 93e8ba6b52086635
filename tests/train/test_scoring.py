"""Scores on held-out data on the way: which values are kept, when training ends, and the time that it takes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tests.train.material import make_training, read_bytes, run

from polygraft.attach.attach import Attachment
from polygraft.data.batches import padding_share


def make_scores(scores: list[float]) -> Any:
    queue: Iterator[float] = iter(scores)
    return lambda attachment: next(queue)


@pytest.mark.parametrize(("last", "best"), [(0.2, 4), (0.5, 10)])
def test_the_best_values_are_kept_and_the_later_of_equal_ones(last: float, best: int):
    training = make_training("tokens", evaluate=make_scores([0.1, 0.5, 0.4, 0.3, last]), evaluate_every=2)
    kept: dict[int, dict[str, bytes]] = {}
    found = []
    for step in training.run():
        kept[step.number] = read_bytes(training.graft)
        found.append((step.held_out, step.is_best))
    scores = [(0.1, True), (0.5, True), (0.4, False), (0.3, False), (last, best == 10)]
    assert found == [pair for score in scores for pair in ((None, False), score)]
    assert read_bytes(training.graft) == kept[best] != kept[14 - best]
    assert training.progress.best == 0.5


def test_a_score_that_is_no_number_is_worse_than_any():
    scores = [math.nan, -5.0, math.nan, -5.0, -6.0]
    training = make_training("tokens", steps=5, evaluate=make_scores(scores), evaluate_every=1)
    kept: dict[int, dict[str, bytes]] = {}
    found: list[bool] = []
    for step in training.run():
        kept[step.number] = read_bytes(training.graft)
        found.append(step.is_best)
    assert found == [False, True, False, True, False]
    assert (training.progress.best, training.progress.since_best) == (-5.0, 3)
    assert read_bytes(training.graft) == kept[4]
    assert [point.get("dev") for point in training.progress.curve] == [None, -5.0, None, -5.0, -6.0]


def test_scores_that_are_no_numbers_leave_the_last_values_and_end_patience():
    scores = [math.nan] * 3
    training = make_training("tokens", evaluate=make_scores(scores), evaluate_every=1, patience=3)
    kept = {step.number: read_bytes(training.graft) for step in training.run()}
    assert list(kept) == [1, 2, 3]
    assert training.progress.best is None
    assert read_bytes(training.graft) == kept[3]


def test_an_equal_score_is_no_gain_for_patience():
    training = make_training("tokens", evaluate=lambda attachment: 0.5, evaluate_every=1, patience=2)
    kept = {step.number: read_bytes(training.graft) for step in training.run()}
    assert list(kept) == [1, 2, 3]
    assert read_bytes(training.graft) == kept[3] != kept[1]


def test_a_best_score_of_zero_is_told_with_what_to_try():
    told: list[str] = []
    run(make_training("tokens", evaluate=lambda attachment: 0.0, head_lr_factor=2.0, notify=told.append))
    assert told == [
        "The best dev score of 'new' is 0: after 10 steps none of the held-out entities or labels is right. Expected a "
        "score above 0. Train for more steps (more epochs, or a smaller --batch-tokens than 96), with a higher "
        "learning rate (--lr, it is 0.01), or with a head that learns faster (--head-lr-factor, it is 2); in a recipe "
        "these are keys of [train.task]."
    ]


@pytest.mark.parametrize(("name", "score"), [("tokens", 0.1), ("mlm", 0.0)])
def test_other_scores_are_not_told(name: str, score: float):
    told: list[str] = []
    run(make_training(name, evaluate=lambda attachment: score, notify=told.append))
    assert told == []


def test_training_stops_early_when_patience_is_at_its_end():
    training = make_training(
        "tokens", evaluate=make_scores([0.5, 0.4, 0.3, 0.9]), evaluate_every=1, patience=2
    )
    assert [step.number for step in training.run()] == [1, 2, 3]
    assert [point["dev"] for point in training.progress.curve] == [0.5, 0.4, 0.3]
    made = [rows for update in training.updates[:3] for rows in update]
    assert training.measure_cost()["padding"] == padding_share(training.objective.lengths(), made)
    assert len(training.updates) == 10


def test_held_out_data_is_scored_ten_times_and_at_the_end():
    seen: list[str] = []

    def evaluate(attachment: Attachment) -> float:
        assert not torch.is_grad_enabled()
        seen.append(str(attachment))
        return 0.0

    steps = run(make_training("tokens", steps=25, evaluate=evaluate))
    assert [step.number for step in steps if step.held_out is not None] == [3, 6, 9, 12, 15, 18, 21, 24, 25]
    assert seen == ["new"] * 9


def test_the_rate_is_that_of_training_and_the_time_left_knows_of_scoring(monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr("polygraft.train.loop.time.perf_counter", lambda: now[0])

    def evaluate(attachment: Attachment) -> float:
        now[0] += 30.0
        return 0.5

    def prepare(number: int) -> None:
        now[0] += 2.0

    training = make_training("tokens", steps=4, evaluate=evaluate, evaluate_every=1, prepare=prepare)
    steps = run(training)
    assert [(step.seconds, step.scoring_seconds) for step in steps] == [
        (32, 30),
        (64, 60),
        (96, 90),
        (128, 120),
    ]
    assert [step.tokens_per_second for step in steps] == [step.tokens / (2 * step.number) for step in steps]
    assert [step.seconds_left for step in steps] == [96, 64, 32, 0]
    cost, tokens = training.measure_cost(), steps[-1].tokens
    assert (cost["seconds"], cost["scoring_seconds"], cost["tokens_per_second"]) == (128, 120, tokens / 8)


def test_gradients_are_there_while_held_out_data_is_scored():
    """What is expected to be needed of memory counts them."""
    found: list[bool] = []

    def score(attachment: Attachment) -> float:
        found.append(all(value.grad is not None for value in training.parameters.values()))
        return 0.5

    training = make_training("tokens", steps=2, evaluate=score, evaluate_every=1)
    run(training)
    assert found == [True, True]
