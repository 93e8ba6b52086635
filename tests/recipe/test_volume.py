"""How much data there is, told from a sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.recipe.material import load
from tests.tiny import make_base

from polygraft.data.batches import pad_length, plan_batches
from polygraft.data.masking import corpus_vocabulary
from polygraft.recipe import volume
from polygraft.recipe.corpus import Corpus
from polygraft.recipe.volume import Samples, guess_vocabulary, measure_volume, mix_samples, pick_evenly
from polygraft.train.settings import TrainSettings
from polygraft.train.updates import plan_updates


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_updates_of_a_small_file_are_counted_as_they_will_be(epochs: int, accumulate: int):
    recipe, base = load(), make_base("bert")
    task = recipe.tasks["ner"]
    sample = Samples(base=base).take_labels(Corpus(recipe=recipe, tokenizer=base.tokenizer), task, task.train)
    settings = TrainSettings(epochs=epochs, batch_tokens=48, accumulate=accumulate)
    found = measure_volume(sample.objective.lengths(), settings)
    updates = plan_updates(sample.objective, settings, num_processes=1)
    lengths, longest = sample.objective.lengths(), int(sample.objective.lengths().max())
    batches = [rows for update in updates for rows in update]
    assert (found.num_updates, found.num_batches) == (len(updates), len(batches))
    padded = [len(rows) * min(pad_length(int(lengths[rows].max())), longest) for rows in batches]
    assert found.num_tokens == pytest.approx(sum(padded))


def test_steps_are_as_many_as_the_settings_say():
    settings = TrainSettings(steps=7, batch_tokens=32, accumulate=3)
    found = measure_volume(np.full(100, 8), settings, times=4)
    assert (found.num_updates, found.num_batches, found.num_of_epoch) == (7, 21, 100)
    assert found.batch_tokens == 32


def test_a_sample_stands_for_so_many_times_the_rows():
    lengths = np.full(100, 8)
    whole = measure_volume(np.full(400, 8), TrainSettings(epochs=2, batch_tokens=32))
    assert measure_volume(lengths, TrainSettings(epochs=2, batch_tokens=32), times=4) == whole
    assert whole.num_of_epoch == len(plan_batches(np.full(400, 8), token_budget=32, seed=0, epoch=0))


def test_a_large_text_is_told_from_some_of_its_lines(here: Path, monkeypatch: pytest.MonkeyPatch):
    lines = (here / "data" / "en.txt").read_text(encoding="utf-8").splitlines()
    (here / "data" / "en.txt").write_text("\n".join(lines * 40) + "\n", encoding="utf-8")
    recipe, base = load("train.language.batch_tokens=32", "train.mlm.batch_tokens=32"), make_base("bert")
    monkeypatch.setattr(volume, "NUM_SAMPLED", 100)
    sample = Samples(base=base).take_text(recipe, "en", longest=64)
    texts = Corpus(recipe=recipe, tokenizer=base.tokenizer).read_language("en")
    whole = texts.train.num_tokens + (0 if texts.held_out is None else texts.held_out.num_tokens)
    assert (sample.num_lines, sample.times) == (1200, 12)
    assert sample.encoded.num_tokens * sample.times == pytest.approx(whole, rel=0.05)
    assert texts.held_out is not None
    assert sample.count_held_out(num_held_out=2) == pytest.approx(texts.held_out.num_tokens, rel=0.25)
    # All its words are in the sample, since the text is the same thirty lines again and again.
    found = guess_vocabulary(sample, special_ids=base.special_ids, num_pieces=base.sites.vocab)
    known = corpus_vocabulary(texts.train, special_ids=base.special_ids)
    assert len(found) == pytest.approx(len(known), abs=3)
    assert set(known.tolist()) <= set(found.tolist())


def test_joined_lines_are_told_from_some_of_them(here: Path, monkeypatch: pytest.MonkeyPatch):
    lines = (here / "data" / "en.txt").read_text(encoding="utf-8").splitlines()
    (here / "data" / "en.txt").write_text("\n".join(lines * 40) + "\n", encoding="utf-8")
    small = ("train.language.batch_tokens=32", "train.mlm.batch_tokens=32")
    plain, joined, base = load(*small), load(*small, "train.language.rows=joined"), make_base("bert")
    monkeypatch.setattr(volume, "NUM_SAMPLED", 100)
    samples = Samples(base=base)
    sentences, sample = (samples.take_text(recipe, "en", longest=16) for recipe in (plain, joined))
    assert sentences.encoded is sentences.sentences
    assert sample.sentences.ids.tolist() == sentences.encoded.ids.tolist()
    assert set(sample.encoded.lengths[:-1].tolist()) == {16}
    # Lines that are kept apart are scored a line a row in any case.
    assert sample.count_held_out(num_held_out=2) == sentences.count_held_out(num_held_out=2)
    train = Corpus(recipe=joined, tokenizer=base.tokenizer, longest=16).read_language("en").train
    assert sample.encoded.num_rows * sample.times == pytest.approx(train.num_rows, rel=0.05)
    settings = TrainSettings(epochs=1, batch_tokens=96)
    wanted = measure_volume(train.lengths, settings)
    found = measure_volume(sample.encoded.lengths, settings, times=sample.times)
    assert found.num_batches == pytest.approx(wanted.num_batches, rel=0.1)
    both = mix_samples([sample, sample])
    assert (both.encoded.num_rows, both.sentences.num_rows) == (
        2 * sample.encoded.num_rows,
        2 * sample.sentences.num_rows,
    )


@pytest.mark.usefixtures("here")
def test_a_small_text_is_read_whole():
    recipe, base = load(), make_base("bert")
    sample = Samples(base=base).take_text(recipe, "en", longest=64)
    assert (sample.num_lines, sample.times, sample.encoded.num_rows) == (30, 1.0, 30)
    exact = corpus_vocabulary(sample.encoded, special_ids=base.special_ids)
    found = guess_vocabulary(sample, special_ids=base.special_ids, num_pieces=base.sites.vocab)
    assert found.tolist() == exact.tolist()


def test_a_sample_is_spread_over_the_file():
    assert pick_evenly(1001, count=11) == list(range(0, 1001, 100))
    assert pick_evenly(3, count=11) == [0, 1, 2]


def test_lines_without_a_token_are_passed_over(here: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(volume, "NUM_SAMPLED", 2)
    (here / "data" / "en.txt").write_text(
        "\x7f\n" * 20 + "ana went to lima\n" * 20 + "\x7f\n", encoding="utf-8"
    )
    recipe, base = load("train.language.batch_tokens=8", "train.mlm.batch_tokens=8"), make_base("bert")
    sample = Samples(base=base).take_text(recipe, "en", longest=64)
    assert sample.num_lines == 41
    assert sample.encoded.num_tokens >= 32


def test_the_largest_batch_is_told_beside_the_mean():
    # Batches of 4 rows of 8 tokens, and one of the two rows that are left.
    found = measure_volume(np.full(10, 8), TrainSettings(epochs=1, batch_tokens=32))
    assert (found.num_of_epoch, found.largest_tokens) == (3, 32)
    assert found.batch_tokens == pytest.approx(80 / 3)
    # A row that is longer than the budget is a batch alone.
    lengths = np.array([40, *[8] * 8])
    assert measure_volume(lengths, TrainSettings(epochs=1, batch_tokens=32)).largest_tokens == 40
