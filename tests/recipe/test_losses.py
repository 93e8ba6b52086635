"""The step that measures texts, and whole runs with it and with all controls."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from tests.recipe.material import find_end, load, read_grafts, run_all, strip
from tests.recipe.test_controls import ALL, FOUR, NAMES
from tests.tiny import make_base

from polygraft.attach.attach import attach
from polygraft.attach.graft import rebuild_graft
from polygraft.attach.plan import stack_names
from polygraft.base.load import load_base
from polygraft.data.fertility import measure_fertility
from polygraft.data.masking import Masking, corpus_vocabulary
from polygraft.data.text import read_text
from polygraft.errors import DataError, RecipeError
from polygraft.evaluate.language_loss import TextLosses
from polygraft.evaluate.text_loss import measure_causal_lm, measure_masked_lm
from polygraft.recipe.corpus import Corpus
from polygraft.recipe.events import StepSkipped
from polygraft.recipe.fit import fit_language
from polygraft.recipe.losses import load_losses, measure_losses
from polygraft.recipe.objectives import make_recipe_objective
from polygraft.recipe.schema import Recipe
from polygraft.recipe.steps import list_jobs
from polygraft.recipe.workshop import Workshop
from polygraft.report.summary import summary_from_json
from polygraft.store.store import Store
from polygraft.train.loop import Interrupted
from polygraft.train.settings import NUM_NEGATIVES

MEASURED = "text_losses=true"


def measure(recipe: Recipe) -> TextLosses:
    heads = ["mlm"] if recipe.base == "bare" else []
    (losses,) = find_end(run_all(recipe, only=[*heads, "language", "losses"])).summary.text_losses
    return losses


@pytest.mark.parametrize("base", ["base", "bare"])
@pytest.mark.parametrize("pieces", ["negatives=3", "vocabulary=full"])
@pytest.mark.usefixtures("here")
def test_losses_are_those_of_a_measurement_by_hand(base: str, pieces: str):
    recipe = load(MEASURED, f"base={base}", f"train.language.{pieces}", "train.language.held_out=3", "seed=4")
    losses = measure(recipe)
    loaded, store = load_base(base, device="cpu"), Store(Path("store"))
    corpus = Corpus(recipe=recipe, tokenizer=loaded.tokenizer)
    heads = ["mlm"] if base == "bare" else []
    assert [(row.language, row.of) for row in losses.losses] == [
        (text, of) for text in ("en", "qu") for of in ("", "en", "qu")
    ]
    for row in losses.losses:
        names = [*heads, *([row.of] if row.of else [])]
        plan = stack_names(names) if names else None
        grafts = [rebuild_graft(loaded, *store.get(name)) for name in names]
        texts = corpus.read_language(row.language)
        assert texts.held_out is not None
        some = [
            corpus_vocabulary(text, special_ids=loaded.special_ids) for text in (texts.train, texts.held_out)
        ]
        is_full = pieces == "vocabulary=full"
        objective = make_recipe_objective(recipe, loaded, texts.train, mask_rate=0.15)
        objective.get_ready(loaded)
        assert (objective.chances is None) == (is_full or base == "bare")
        with attach(loaded, plan, grafts=grafts) as attachment:
            wanted = measure_masked_lm(
                attachment,
                texts.held_out,
                vocabulary=None if is_full else torch.cat(some).unique(),
                masking=Masking(),
                seed=4,
                num_negatives=0 if is_full else 3,
                chances=objective.chances,
            )
        assert row.loss == pytest.approx(wanted.loss, abs=1e-6)
        assert row.num_targets == wanted.num_targets > 0
        assert row.plan == ("" if plan is None else str(plan))
        without = losses.find(row.language, "")
        assert without is not None
        assert row.gain == pytest.approx(without.loss - row.loss, abs=1e-12)
        assert row.low <= row.loss <= row.high


@pytest.mark.parametrize("strength", [1, 0.5])
@pytest.mark.parametrize("base", ["base", "bare"])
@pytest.mark.usefixtures("here")
def test_a_languages_own_loss_is_the_held_out_loss_of_its_manifest(base: str, strength: float):
    table = (f"train.language.strength={strength}", "train.language.source_share=0.3")
    losses = measure(load(MEASURED, f"base={base}", "train.language.negatives=3", *table))
    for language in ("en", "qu"):
        own = losses.find(language, language)
        assert own is not None
        assert own.loss == pytest.approx(
            Store(Path("store")).manifest(language).scores["held_out_loss"], abs=1e-6
        )


@pytest.mark.usefixtures("here")
def test_what_the_grafts_learned_from_stands_beside_their_losses():
    losses = measure(load(MEASURED, *FOUR, "train.language.held_out=2"))
    tokenizer = make_base("bert").tokenizer
    assert [text.language for text in losses.texts] == ["en", "qu", "ay", "gn"]
    for text, (file, count) in zip(
        losses.texts, [("en", 30), ("qu", 30), ("qu", 12), ("en", 20)], strict=True
    ):
        lines = read_text(Path(f"data/{file}.txt"))[:count]
        apart = [lines[0], lines[-1]] if count > 12 else [lines[0]]
        found = measure_fertility(apart, tokenizer)
        assert text.tokens_per_word == found.tokens_per_word
        assert (text.single_share, text.unknown_share) == (found.single_share, found.unknown_share)
        learned = [line for line in lines if line not in apart]
        assert text.num_tokens == sum(len(tokenizer.tokenize(line)) for line in learned)
        assert text.num_seen == Store(Path("store")).manifest(text.graft).cost["tokens"] > 0


@pytest.mark.usefixtures("here")
def test_a_causal_base_is_measured_by_the_next_piece():
    base = make_base("gpt2")
    recipe = load(MEASURED)
    corpus = Corpus(recipe=recipe, tokenizer=base.tokenizer)
    held_out = corpus.read_language("en").held_out
    assert held_out is not None
    workshop = Workshop(
        recipe=recipe,
        base=base,
        store=Store(Path("store")),
        corpus=corpus,
        should_stop=lambda: False,
    )
    jobs = {job.name: job for job in list_jobs(recipe, base, corpus)}
    for name in ("language.en", "language.qu"):
        assert list(fit_language(workshop, jobs[name]))
    *_, losses = measure_losses(workshop, jobs["losses"])
    assert isinstance(losses, TextLosses)
    some = [
        corpus_vocabulary(text, special_ids=base.special_ids)
        for text in (corpus.read_language("en").train, held_out)
    ]
    objective = make_recipe_objective(recipe, base, corpus.read_language("en").train, mask_rate=0.15)
    objective.get_ready(base)
    with attach(base, None) as attachment:
        wanted = measure_causal_lm(
            attachment,
            held_out,
            vocabulary=torch.cat(some).unique(),
            num_negatives=NUM_NEGATIVES,
            chances=objective.chances,
        )
    found = losses.find("en", "")
    assert found is not None
    assert found.loss == pytest.approx(wanted.loss, abs=1e-6)


def test_a_whole_run_with_all_controls_that_was_stopped_ends_as_one_that_was_not(here: Path):
    settings = (ALL, MEASURED, *FOUR, "base=bare")
    whole = find_end(run_all(load(*settings, "name=whole"))).summary
    grafts = read_grafts(Path("store"))
    conditions = {
        language: [result.condition for result in whole.results if result.language == language]
        for language in ("en", "qu", "sw")
    }
    assert conditions == {
        "en": NAMES,
        "qu": [*NAMES, "target"],
        "sw": ["task alone", "none", "nearest", "average", "source"],
    }
    assert [gain.other for gain in whole.gains if gain.language == "qu"] == [*NAMES]
    assert [(gain.condition, gain.other) for gain in whole.gains if gain.language == "sw"] == [
        (condition, other)
        for condition in ("nearest", "average", "source")
        for other in ("none", "task alone")
    ]
    assert [overlap.language for overlap in whole.overlaps] == ["en", "qu", "sw"]
    sentences, events = 0, []
    for stop in (9, 16, 30, 41, 200):
        asked = 0

        def should_stop(limit: int = stop) -> bool:
            nonlocal asked
            asked += 1
            return asked > limit

        try:
            events = run_all(load(*settings, "name=again", "store=other"), should_stop=should_stop)
        except Interrupted as error:
            sentences += "of text losses was stopped" in str(error) or "The scoring of 'ner'" in str(error)
            continue
        break
    again = find_end(events).summary
    assert sentences >= 1
    assert again.text_losses == whole.text_losses
    assert strip(again.results) == strip(whole.results)
    assert again.gains == whole.gains
    assert read_grafts(Path("other")) == grafts
    assert summary_from_json(Path("runs/again/results.json").read_text()).text_losses == whole.text_losses
    assert len(Path("runs/again/losses.csv").read_text().splitlines()) == 1 + 4 * 5
    page = Path("runs/again/report.html").read_text()
    assert 'id="texts"' in page
    assert "the mean of the parameters of the grafts of all languages" in page
    skipped = [
        event.name
        for event in run_all(load(*settings, "name=again", "store=other"))
        if isinstance(event, StepSkipped)
    ]
    assert {"losses", "evaluate.ner"} < set(skipped)


@pytest.mark.usefixtures("here")
def test_measuring_texts_changes_no_other_step():
    base = make_base("bert", with_head=False)
    found = []
    for settings in ((), (MEASURED,)):
        recipe = load(*settings)
        jobs = list_jobs(recipe, base, Corpus(recipe=recipe, tokenizer=base.tokenizer))
        found.append({job.name: job.digest for job in jobs})
    assert list(found[1]) == [*list(found[0])[:3], "losses", *list(found[0])[3:]]
    assert found[1].items() >= found[0].items()


@pytest.mark.usefixtures("here")
def test_methods_and_seeds_that_share_language_grafts_are_measured_once():
    recipe = load(
        MEASURED, 'methods=["bottleneck","madx","lt-sft"]', "seeds=[0,1]", "language.qu.max_lines=20"
    )
    events = run_all(recipe, only=["language", "losses"])
    summary = find_end(events).summary
    assert [(losses.method, losses.seed) for losses in summary.text_losses] == [("madx", 0), ("lt-sft", 0)]
    assert [row.plan for row in summary.text_losses[1].losses] == ["", "en-lt-sft", "qu-lt-sft"] * 2


@pytest.mark.usefixtures("here")
def test_losses_that_cannot_be_read_are_measured_again():
    recipe = load(MEASURED)
    losses = measure(recipe)
    (path,) = Path("runs/recipe/losses").iterdir()
    assert load_losses(path.parent, path.stem) == dataclasses.replace(losses, method="")
    path.write_text(json.dumps({"losses": 3}))
    assert load_losses(path.parent, path.stem) is None
    assert measure(recipe) == losses


@pytest.mark.usefixtures("here")
def test_texts_of_one_line_cannot_be_measured_on():
    recipe = load(MEASURED, "language.en.max_lines=1", "language.qu.max_lines=1")
    with pytest.raises(DataError) as refusal:
        measure(recipe)
    assert str(refusal.value) == (
        "The step 'losses' has no text to measure on: each of en, qu has one line. Expected two or more of one "
        "language at least. Give longer texts, or leave text_losses out."
    )


@pytest.mark.usefixtures("here")
def test_a_recipe_without_language_grafts_measures_no_text():
    with pytest.raises(RecipeError) as refusal:
        load(MEASURED, 'methods=["lora","full"]')
    assert str(refusal.value) == (
        "The recipe has text_losses = true and no method with language grafts, so no text would be measured. Expected "
        "one that has, such as madx. Add it to `methods`, or leave text_losses out. (recipe.toml)"
    )
