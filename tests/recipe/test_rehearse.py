"""Moments of work, timed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.recipe.material import load
from tests.tiny import make_base

from polygraft.base.base import Base
from polygraft.data.encode import EncodedText
from polygraft.data.masking import Masking
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.recipe import paces as paces_file
from polygraft.recipe import rehearse
from polygraft.recipe.corpus import Corpus
from polygraft.recipe.paces import Paces
from polygraft.recipe.rehearse import (
    Cost,
    Pace,
    fit_cost,
    fit_memory,
    mean_pace,
    measure_rates,
    rehearse_scores,
)
from polygraft.recipe.volume import LabelSample, Samples
from polygraft.train.loop import Training
from polygraft.train.settings import TrainSettings

PARTS = (Bottleneck(reduction=4), Head(objective="tokens", labels=("O", "B-LOC", "B-PER", "I-PER")))


@pytest.mark.parametrize(
    ("small", "large", "cost"),
    [
        ((128, 1.4), (768, 3.4), Cost(batch=1.0, token=2 / 640)),
        ((128, 3.0), (768, 2.4), Cost(batch=0.0, token=2.4 / 768)),
        ((128, 0.2), (768, 2.4), Cost(batch=0.0, token=2.4 / 768)),
        ((128, 1.0), (128, 1.0), Cost(batch=0.0, token=1 / 128)),
    ],
)
def test_two_sizes_give_the_time_of_a_batch_and_of_a_token(
    small: tuple[float, float], large: tuple[float, float], cost: Cost
):
    found = fit_cost(small, large)
    assert (found.batch, found.token) == (pytest.approx(cost.batch), pytest.approx(cost.token))


def test_costs_add_up():
    assert Cost(batch=2.0, token=0.5).estimate(num_batches=10, num_tokens=320) == 180


def test_memory_that_does_not_grow_belongs_to_the_batch():
    assert fit_memory((10, 70.0), (20, 60.0)) == Cost(batch=60.0, token=0.0)
    assert fit_memory((10, 70.0), (20, 90.0)) == Cost(batch=50.0, token=2.0)
    assert fit_memory((10, 0.0), (20, 90.0)) == Cost(batch=0.0, token=9.0)


class Clock:
    """A clock that moves when work is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


def test_scoring_is_timed_in_two_sizes(monkeypatch: pytest.MonkeyPatch):
    clock = Clock()
    monkeypatch.setattr(rehearse, "time", clock)
    sizes: list[int] = []

    def work(size: int) -> float:
        sizes.append(size)
        # The first time of all prepares something.
        clock.now += 50 if len(sizes) == 1 else (3, 5)[size]
        return (100, 200)[size]

    found = rehearse_scores(work)
    assert sizes == [0, 0, 1]
    assert found.seconds == Cost(batch=pytest.approx(1.0), token=pytest.approx(0.02))


def test_means_are_those_of_times_and_the_most_of_memory():
    first = Pace(
        seconds=Cost(batch=1.0, token=2.0), memory=Cost(batch=5.0, token=0.0), value=1.0, num_values=3
    )
    second = Pace(
        seconds=Cost(batch=3.0, token=4.0), memory=Cost(batch=1.0, token=8.0), value=2.0, num_values=3
    )
    found = mean_pace([first, second])
    assert found == Pace(
        seconds=Cost(batch=2.0, token=3.0), memory=Cost(batch=5.0, token=8.0), value=1.5, num_values=3
    )
    assert mean_pace([first, None]) is None


def take_sample(name: str = "train") -> tuple[Paces, LabelSample]:
    recipe, base = load(), make_base("bert")
    task = recipe.tasks["ner"]
    corpus = Corpus(recipe=recipe, tokenizer=base.tokenizer)
    path = task.train if name == "train" else task.dev
    return Paces(base=base), Samples(base=base).take_labels(corpus, task, path)


@pytest.mark.usefixtures("here")
def test_rehearsing_leaves_no_trace():
    paces, sample = take_sample()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    settings = TrainSettings(epochs=2, batch_tokens=64)
    update = paces.find_label_update(PARTS, (), sample, settings=settings, looks_up=False)
    scores = paces.find_label_scores(PARTS, (), sample)
    assert update is not None
    assert scores is not None
    assert update.seconds.estimate(num_batches=1, num_tokens=64) > 0
    assert scores.seconds.estimate(num_batches=1, num_tokens=64) > 0
    assert update.num_values == paces.count_values(PARTS)
    assert not paces.base.in_force
    assert paces.base.compute_fingerprint() == paces.base.fingerprint
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("here")
def test_no_rehearsal_begins_when_the_time_for_them_is_over():
    paces, sample = take_sample()
    settings = TrainSettings(epochs=2, batch_tokens=64)
    paces.most_seconds = 1e-9
    first = paces.find_label_scores(PARTS, (), sample)
    assert first is not None
    assert paces.num_left == 0
    for _ in range(2):
        assert paces.find_label_update(PARTS, (), sample, settings=settings, looks_up=False) is None
    # What was tried before is still known, and what was left out counts once.
    assert paces.find_label_scores(PARTS, (), sample) is first
    assert paces.num_left == 1


@pytest.mark.usefixtures("here")
def test_each_kind_of_work_is_rehearsed_once(monkeypatch: pytest.MonkeyPatch):
    paces, sample = take_sample()
    settings = TrainSettings(epochs=2, batch_tokens=64)
    first = paces.find_label_update(PARTS, (), sample, settings=settings, looks_up=False)
    monkeypatch.setattr(paces_file, "rehearse_updates", None)
    assert paces.find_label_update(PARTS, (), sample, settings=settings, looks_up=False) is first
    # With dropout it is another kind.
    settings = TrainSettings(epochs=2, batch_tokens=64, dropout=True)
    with pytest.raises(TypeError):
        paces.find_label_update(PARTS, (), sample, settings=settings, looks_up=False)


@pytest.mark.usefixtures("here")
def test_what_there_is_no_memory_for_is_not_tried(monkeypatch: pytest.MonkeyPatch):
    paces, sample = take_sample()
    monkeypatch.setattr(paces_file, "read_free", lambda: 24 * paces.count_values(PARTS))
    settings = TrainSettings(epochs=2, batch_tokens=64)
    assert paces.find_label_update(PARTS, (), sample, settings=settings, looks_up=False) is None


def test_rates_are_those_of_this_machine():
    rates = measure_rates()
    assert 1 / rehearse.WRITE_RATE < rates.saved_byte < 1e-5
    assert 0 < rates.chosen < 1e-4


@pytest.mark.usefixtures("here")
def test_updates_are_rehearsed_on_joined_lines_and_scores_on_sentences(monkeypatch: pytest.MonkeyPatch):
    base, parts = make_base("bert"), (Bottleneck(reduction=4),)
    scored: dict[str, Any] = {
        "vocabulary": torch.arange(base.sites.vocab),
        "masking": Masking(),
        "scores_all_pieces": False,
        "num_negatives": 0,
    }
    learned: list[list[int]] = []
    measured: list[list[int]] = []

    def rehearse_updates(training: Training, **_: object) -> Pace:
        learned.append(training.objective.lengths().tolist())
        return Pace(seconds=Cost(batch=1.0, token=1.0), memory=Cost(batch=1.0, token=1.0))

    def make_loss(base: Base, objective: object, text: EncodedText, **_: object) -> Callable[..., float]:
        measured.append(text.lengths.tolist())
        return lambda attachment: 0.0

    monkeypatch.setattr(paces_file, "rehearse_updates", rehearse_updates)
    monkeypatch.setattr(paces_file, "make_held_out_loss", make_loss)
    paces, samples = Paces(base=base), Samples(base=base)
    for setting in ("sentences", "joined"):
        recipe = load(f"train.language.rows={setting}")
        sample, settings = samples.take_text(recipe, "en", longest=16), recipe.train.language
        train = settings.plan_training(seed=0)
        paces.find_text_update(parts, (), sample, settings=train, **scored)
        paces.find_text_scores(parts, (), sample, seed=0, **scored)
    sentences = samples.take_text(load(), "en", longest=16).encoded.lengths.tolist()
    assert learned[0] == sentences
    assert set(learned[1][:-1]) == {16}
    # What is scored is the same for both, so that it is tried once.
    assert measured == [sentences[:4], sentences]
