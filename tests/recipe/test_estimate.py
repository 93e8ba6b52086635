"""The guess of how long steps take."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.recipe.material import load
from tests.tiny import make_base

from polygraft.base.base import Base
from polygraft.recipe import estimate as estimate_file
from polygraft.recipe.corpus import Corpus
from polygraft.recipe.estimate import Cost, Speed, estimate_seconds, fit_cost, measure_speed
from polygraft.recipe.schema import Recipe
from polygraft.recipe.steps import list_jobs
from polygraft.recipe.workshop import Workshop
from polygraft.store.store import Store

SPEED = Speed(forward=Cost(batch=0.0, token=1.0), update=Cost(batch=100.0, token=3.0))


def estimate(recipe: Recipe, base: Base) -> dict[str, float]:
    corpus = Corpus(recipe=recipe, tokenizer=base.tokenizer)
    workshop = Workshop(
        recipe=recipe, base=base, store=Store(recipe.store), corpus=corpus, should_stop=lambda: False
    )
    return {job.name: estimate_seconds(workshop, job, SPEED) for job in list_jobs(recipe, base, corpus)}


@pytest.mark.usefixtures("here")
def test_steps_take_their_updates_and_their_scores():
    recipe = load("train.mlm.batch_tokens=256", "train.language.batch_tokens=64")
    guess = estimate(recipe, make_base("bert", with_head=False))
    # The graft `mlm` is in the last layer of three: nothing below it is differentiated.
    below, above = (
        cost.estimate(num_batches=3, num_tokens=3 * 256) for cost in (SPEED.forward, SPEED.update)
    )
    assert guess["mlm"] == pytest.approx(2 / 3 * below + 1 / 3 * above)
    assert above == 3 * 100 + 3 * 256 * 3
    size = len((recipe.languages["en"].text).read_bytes())
    held_out = 10 * 2 * (size / 30 / 4 + 2)
    assert guess["language.en"] == pytest.approx(3 * 100 + 3 * 64 * 3 + held_out)


@pytest.mark.parametrize(
    ("text", "settings", "num_apart", "size"),
    [
        ("ana went\n", (), 0, 9),
        ("ana went", (), 0, 8),
        ("ana went\nto lima", (), 1, 8.5),
        ("ana went\n" * 30, (), 2, 9),
        ("ana went\n" * 30, ("train.language.held_out=9",), 3, 9),
        ("ana went\n" * 30, ("train.language.held_out=9", "language.en.max_lines=20"), 2, 9),
        ("ana went\n" * 30, ("language.en.max_lines=1",), 0, 9),
    ],
)
def test_lines_kept_apart_are_counted_as_they_will_be(
    here: Path, text: str, settings: tuple[str, ...], num_apart: int, size: float
):
    (here / "data" / "en.txt").write_text(text)
    recipe, base = load("train.language.batch_tokens=64", *settings), make_base("bert")
    held_out = 10 * num_apart * (size / 4 + 2)
    assert estimate(recipe, base)["language.en"] == pytest.approx(3 * 100 + 3 * 64 * 3 + held_out)
    texts = Corpus(recipe=recipe, tokenizer=base.tokenizer).read_language("en")
    assert (0 if texts.held_out is None else texts.held_out.num_rows) == num_apart


@pytest.mark.usefixtures("here")
def test_scores_are_taken_under_each_condition():
    recipe = load()
    counts = {
        name: sum(1.4 if line.strip() else 2 for line in path.read_text().splitlines())
        for name, path in recipe.tasks["ner"].test.items()
    }
    guess = estimate(recipe, make_base("bert"))["evaluate.ner"]
    assert guess == pytest.approx(3 * counts["en"] + 4 * counts["qu"] + 3 * counts["sw"], abs=30)


@pytest.mark.usefixtures("here")
def test_twice_the_epochs_take_twice_the_updates():
    base = make_base("bert")
    once, twice, thrice = (estimate(load(f"train.task.epochs={n}"), base)["task.ner"] for n in (1, 2, 3))
    assert once > 0
    assert thrice - twice == pytest.approx(twice - once)


class Clock:
    """A clock that moves when work is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "batch", "token"),
    [
        ({1: 9.0, 4: 1.4, 24: 3.4}, 1.0, 0.1 / 32),
        ({1: 9.0, 4: 3.0, 24: 2.4}, 0.0, 0.1 / 32),
        ({1: 9.0, 4: 0.2, 24: 2.4}, 0.0, 0.1 / 32),
    ],
)
def test_two_sizes_give_the_time_of_a_batch_and_of_a_token(
    seconds: dict[int, float], batch: float, token: float, monkeypatch: pytest.MonkeyPatch
):
    clock = Clock()
    monkeypatch.setattr(estimate_file, "time", clock)

    def work(rows: int) -> None:
        clock.now += seconds[rows]

    cost = fit_cost(work)
    assert (cost.batch, cost.token) == (pytest.approx(batch), pytest.approx(token))
    assert cost.estimate(num_batches=10, num_tokens=320) == pytest.approx(10 * batch + 1)


def test_measuring_leaves_no_trace():
    base = make_base("bert")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    speed = measure_speed(base)
    assert speed.update.estimate(num_batches=1, num_tokens=64) > 0
    assert speed.forward.estimate(num_batches=1, num_tokens=64) > 0
    assert not base.in_force
    assert base.compute_fingerprint() == base.fingerprint
    assert torch.equal(torch.get_rng_state(), before)
