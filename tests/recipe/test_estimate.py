"""What steps are expected to take."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.recipe.material import load
from tests.tiny import make_base

from polygraft.base.base import Base
from polygraft.recipe.comparison import list_variants
from polygraft.recipe.corpus import Corpus
from polygraft.recipe.estimate import Estimate, estimate_step
from polygraft.recipe.paces import Paces
from polygraft.recipe.rehearse import Cost, Pace, Rates
from polygraft.recipe.schema import Recipe
from polygraft.recipe.steps import Job, list_jobs
from polygraft.recipe.volume import Samples
from polygraft.recipe.work import Planner, Work
from polygraft.recipe.workshop import Workshop
from polygraft.store.store import Store

UPDATE = Pace(seconds=Cost(batch=100.0, token=3.0), memory=Cost(batch=1000.0, token=10.0), value=0.01)
FOUND = Pace(seconds=Cost(batch=10.0, token=0.5), memory=Cost(batch=0.0, token=0.0))
SCORES = Pace(seconds=Cost(batch=7.0, token=1.0), memory=Cost(batch=50.0, token=2.0))


class KnownPaces(Paces):
    """Paces that are known beforehand instead of rehearsed."""

    def __init__(
        self, base: Base, *, is_possible: bool = True, update: Pace = UPDATE, scores: Pace = SCORES
    ) -> None:
        super().__init__(base=base)
        self.update, self.scores = update, scores
        self.is_possible = is_possible
        self._rates = Rates(saved_byte=0.0, chosen=0.0, copied=0.0)

    def _find(self, key: Any, parts: Any, rehearse: Any) -> Pace | None:
        if not self.is_possible:
            return None
        if key[0] in ("scores", "losses"):
            return self.scores
        if key[0] == "labels" and key[2]:
            return FOUND
        return dataclasses.replace(self.update, num_values=self.count_values(parts))


def list_planned(recipe: Recipe, base: Base, **facts: Any) -> Iterator[tuple[Planner, Job]]:
    corpus = Corpus(recipe=recipe, tokenizer=base.tokenizer)
    for variant in list_variants(recipe):
        workshop = Workshop(
            recipe=variant,
            base=base,
            store=Store(recipe.store),
            corpus=corpus.share(variant),
            should_stop=lambda: False,
        )
        planner = Planner(workshop=workshop, samples=Samples(base=base), paces=KnownPaces(base, **facts))
        for job in list_jobs(variant, base, workshop.corpus):
            yield planner, job


def estimate(recipe: Recipe, base: Base, **facts: Any) -> dict[str, Estimate]:
    return {job.name: estimate_step(planner, job) for planner, job in list_planned(recipe, base, **facts)}


def count_text_tokens(recipe: Recipe, base: Base) -> tuple[float, float, float]:
    """The padded tokens of a batch, the seconds that reading takes nothing of, and the tokens that are kept apart."""
    texts = Corpus(recipe=recipe, tokenizer=base.tokenizer).read_language("en")
    held_out = 0 if texts.held_out is None else texts.held_out.num_tokens
    return texts.train.num_tokens, texts.num_lines, held_out


@pytest.mark.usefixtures("here")
def test_a_language_takes_its_updates_and_ten_scores():
    recipe, base = load("train.language.steps=40", "train.language.batch_tokens=64"), make_base("bert")
    found = estimate(recipe, base)["language.en"]
    # A row has 8 pieces: eight rows fill a batch of 64.
    values = 3 * (16 * 8 * 2 + 8 + 16)
    tokens, lines, held_out = count_text_tokens(recipe, base)
    per_line = (tokens + held_out) / lines
    assert found.seconds is not None
    scores = 10 * (7 + 2 * per_line)
    low = 40 * (100 + 3 * 50) + 40 * 0.01 * values + scores
    high = 40 * (100 + 3 * 64) + 40 * 0.01 * values + scores
    assert low < found.seconds < high + 1
    assert not found.is_bound
    assert found.passing_bytes == 0


@pytest.mark.usefixtures("here")
def test_twice_the_updates_take_twice_as_long_and_no_more_memory():
    base = make_base("bert")
    once, twice = (
        estimate(load(f"train.language.steps={steps}", "train.language.batch_tokens=64"), base)["language.qu"]
        for steps in (80, 160)
    )
    assert once.seconds is not None
    assert twice.seconds is not None
    assert twice.seconds - once.seconds == pytest.approx(once.seconds - 10 * (7 + 2 * 8.2), rel=0.02)
    assert twice.above_bytes == once.above_bytes


@pytest.mark.usefixtures("here")
def test_longer_trainings_write_checkpoints_of_values_best_values_and_two_more_each():
    base = make_base("bert")
    lasting = {
        steps: estimate(load(f"train.language.steps={steps}"), base)["language.en"].passing_bytes
        for steps in (199, 200, 400, 600, 1000)
    }
    values = 3 * (16 * 8 * 2 + 8 + 16)
    # Two are kept, and a third one is whole before the oldest goes.
    assert lasting == {199: 0, 200: 16 * values, 400: 32 * values, 600: 48 * values, 1000: 48 * values}


@pytest.mark.usefixtures("here")
def test_later_epochs_look_up_what_stands_below_the_first_bottleneck():
    base, batches = make_base("bert"), "train.task.batch_tokens=64"
    settings = ("train.task.skip_layers=[0,1]", "train.task.epochs=8", batches)
    kept, computed, dropping = (
        estimate(load(*settings, setting), base)["task.ner-alone"]
        for setting in ("train.task.cache=exact", "train.task.cache=off", "train.task.dropout=true")
    )
    assert kept.seconds is not None
    assert computed.seconds is not None
    # Seven of eight epochs: 90 seconds less a batch, and 2.5 less a token.
    assert 0.2 < kept.seconds / computed.seconds < 0.5
    assert kept.above_bytes > computed.above_bytes
    assert dropping.seconds == pytest.approx(computed.seconds, rel=1e-3)
    assert dropping.above_bytes == computed.above_bytes


@pytest.mark.usefixtures("here")
def test_what_finds_no_room_in_the_cache_goes_to_the_disk():
    base = make_base("bert")
    settings = ("train.task.skip_layers=[0,1]", "train.task.epochs=2")
    found = {
        gib: estimate(load(*settings, f"train.task.cache_gib={gib}"), base)["task.ner-alone"]
        for gib in (2, 0)
    }
    in_memory = found[2].above_bytes - found[0].above_bytes
    assert in_memory == found[0].passing_bytes > 0
    assert found[2].passing_bytes == 0


@pytest.mark.usefixtures("here")
def test_early_stopping_makes_it_the_most():
    base = make_base("bert")
    assert estimate(load("train.task.patience=2"), base)["task.ner"].is_bound


@pytest.mark.usefixtures("here")
def test_scores_are_taken_under_each_condition():
    base, recipe = make_base("bert"), load()
    found = estimate(recipe, base)["evaluate.ner"]
    corpus = Corpus(recipe=recipe, tokenizer=base.tokenizer)
    task = recipe.tasks["ner"]
    samples = Samples(base=base)
    tokens = {name: samples.take_labels(corpus, task, path).num_tokens for name, path in task.test.items()}
    assert found.seconds == pytest.approx(
        3 * (7 + tokens["en"]) + 4 * (7 + tokens["qu"]) + 3 * (7 + tokens["sw"])
    )


@pytest.mark.usefixtures("here")
def test_a_method_of_two_trainings_takes_both():
    base = make_base("bert")
    tables = ("train.task.epochs=9", "train.task.batch_tokens=64")
    once = estimate(load('methods=["imp"]', "method.imp.task.pruning.retrain='never'", *tables), base)
    twice = estimate(load('methods=["imp"]', "method.imp.task.pruning.sparsities=[0.5]", *tables), base)
    first, second = once["imp.task.ner"], twice["imp.task.ner"]
    assert first.seconds is not None
    assert second.seconds is not None
    assert 1.5 < second.seconds / first.seconds < 2
    # The checkpoint of a training of all weights, and of one of half of them.
    assert second.passing_bytes > first.passing_bytes > 0


@pytest.mark.usefixtures("here")
def test_what_cannot_be_tried_has_no_time_but_memory():
    found = estimate(load('methods=["full"]'), make_base("bert"), is_possible=False)["full.task.ner"]
    assert found.seconds is None
    # The values, the best ones, a gradient, two of the optimiser, and the weights as they were.
    assert found.above_bytes >= 6 * 4 * (found.kept_bytes // 4 - 500)


def test_nothing_is_read_twice(here: Path):
    base, recipe = make_base("bert"), load()
    estimates = estimate(recipe, base)
    assert list(estimates) == ["language.en", "language.qu", "task.ner-alone", "task.ner", "evaluate.ner"]
    assert not (here / "runs").exists()
    assert not (here / "store").exists()


@pytest.mark.usefixtures("here")
def test_text_losses_score_each_text_with_every_graft_and_with_none():
    recipe, base = load("text_losses=true", 'language.ay={text="qu.txt",max_lines=12}'), make_base("bert")
    found = estimate(recipe, base)["losses"]
    corpus, tokens = Corpus(recipe=recipe, tokenizer=base.tokenizer), 0
    for name in recipe.languages:
        held_out = corpus.read_language(name).held_out
        assert held_out is not None
        tokens += held_out.num_tokens
    # The tokens kept apart are guessed from those of all lines.
    assert found.seconds == pytest.approx(4 * (3 * 7 + tokens), rel=0.1)
    assert found.kept_bytes == 3 * (4 * 290 + 150)
    assert estimate(recipe, base, is_possible=False)["losses"].seconds is None


@pytest.mark.usefixtures("here")
def test_a_control_takes_as_much_as_another_condition_and_a_mean_as_one_graft():
    base, texts = make_base("bert"), ('language.ay={text="qu.txt"}', 'language.gn={text="en.txt"}')
    plain, two = (
        estimate(load(*texts, f"controls={controls}"), base)["evaluate.ner"]
        for controls in ("[]", '["average","nearest"]')
    )
    assert plain.seconds is not None
    assert two.seconds is not None
    # Without controls, 'en' and 'sw' have three conditions, and 'qu' has four; each gets two more.
    lengths = {"en": (8, 3), "qu": (10, 4), "sw": (6, 3)}
    sentence = (plain.seconds - 10 * 7) / sum(rows * count for rows, count in lengths.values())
    wanted = sum(rows * (count + 2) for rows, count in lengths.values()) * sentence + 16 * 7
    assert two.seconds == pytest.approx(wanted, rel=0.05)
    assert two.above_bytes == plain.above_bytes


def plan(recipe: Recipe, base: Base, name: str, **facts: Any) -> tuple[Work, Estimate]:
    """What a step will do, and what is expected of it."""
    [(planner, job)] = [each for each in list_planned(recipe, base, **facts) if each[1].name == name]
    return planner.plan(job), estimate_step(planner, job)


@pytest.mark.usefixtures("here")
def test_memory_is_that_of_the_largest_batch():
    recipe, base = load("train.task.batch_tokens=64", "train.task.cache='off'"), make_base("bert")
    update = dataclasses.replace(UPDATE, memory=Cost(batch=1e6, token=1e3))
    work, found = plan(recipe, base, "task.ner-alone", update=update)
    [each] = work.draft.rounds
    assert work.volume.batch_tokens < work.volume.largest_tokens <= 64
    # The values and the best ones, and what was measured of an update.
    above = work.data_bytes + 2 * 4 * each.num_values + 1e6 + 1e3 * work.volume.largest_tokens
    assert found.above_bytes == round(above)


@pytest.mark.usefixtures("here")
def test_gradients_and_what_the_optimiser_remembers_are_there_while_held_out_data_is_scored():
    recipe, base = load("train.task.batch_tokens=64", "train.task.cache='off'"), make_base("bert")
    scores = dataclasses.replace(SCORES, memory=Cost(batch=1e9, token=0.0))
    work, found = plan(recipe, base, "task.ner-alone", scores=scores)
    [each] = work.draft.rounds
    above = work.data_bytes + 2 * 4 * each.num_values + 3 * 4 * each.num_values + 1e9
    assert found.above_bytes == round(above)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("every", "count"), [(100, 1), (5, 1), (4, 2), (2, 3), (1, 3)])
def test_a_checkpoint_of_the_last_update_is_counted_once(every: int, count: int):
    settings = ('methods=["full"]', f"train.checkpoint_every={every}", "train.task.batch_tokens=64")
    base = make_base("bert")
    work, found = plan(load(*settings), base, "full.task.ner")
    [each] = work.draft.rounds
    assert work.volume.num_updates == 5
    # The values, the best ones, and two of the optimiser; at most three are there at once.
    assert found.passing_bytes == count * 4 * 4 * each.num_values
