"""Which steps a recipe has, and what their digests depend on."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.recipe.material import load
from tests.tiny import make_base

from polygraft.base.base import Base
from polygraft.recipe.corpus import Corpus
from polygraft.recipe.read import load_recipe
from polygraft.recipe.schema import Recipe
from polygraft.recipe.steps import _describe_settings, list_jobs, list_ready_languages, select_jobs
from polygraft.recipe.train_tables import LanguageSettings, MlmSettings, TaskSettings

STEPS = ("mlm", "language.en", "language.qu", "task.ner-alone", "task.ner", "evaluate.ner")


def digest(recipe: Recipe, base: Base | None = None) -> dict[str, str]:
    base = make_base("bert", with_head=False) if base is None else base
    return {
        job.name: job.digest
        for job in list_jobs(recipe, base, Corpus(recipe=recipe, tokenizer=base.tokenizer))
    }


def list_changed(recipe: Recipe, base: Base | None = None) -> tuple[str, ...]:
    """The steps that have another digest than those of the recipe as it is."""
    before, after = digest(load()), digest(recipe, base)
    return tuple(name for name in before if before[name] != after.get(name))


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("seed=1", STEPS),
        ("train.precision=bfloat16", STEPS),
        ("train.recompute=true", ()),
        ("train.compile=true", STEPS),
        ("train.compile=false", ()),
        ("train.checkpoint_every=3", ()),
        ("train.mlm.accumulate=1", ()),
        ("train.mlm.accumulate=2", ("mlm", "language.en", "language.qu", "task.ner", "evaluate.ner")),
        ("train.mlm.dropout=false", ()),
        ("train.mlm.dropout=true", ("mlm", "language.en", "language.qu", "task.ner", "evaluate.ner")),
        ("train.language.dropout=false", ()),
        ("train.language.dropout=true", ("language.en", "language.qu", "task.ner", "evaluate.ner")),
        ("train.task.dropout=false", ()),
        ("train.task.dropout=true", ("task.ner-alone", "task.ner", "evaluate.ner")),
        ("train.language.accumulate=1", ()),
        ("train.language.accumulate=2", ("language.en", "language.qu", "task.ner", "evaluate.ner")),
        ("train.task.source_weight=0", ()),
        ("train.task.source_weight=0.5", ("evaluate.ner",)),
        ("train.mlm.steps=4", ("mlm", "language.en", "language.qu", "task.ner", "evaluate.ner")),
        ("train.language.lr=1e-3", ("language.en", "language.qu", "task.ner", "evaluate.ner")),
        (
            "train.language.max_length=64",
            ("mlm", "language.en", "language.qu", "task.ner", "evaluate.ner"),
        ),
        (
            "train.language.vocabulary=full",
            ("mlm", "language.en", "language.qu", "task.ner", "evaluate.ner"),
        ),
        ("train.language.rows=sentences", ()),
        ("train.language.rows=joined", ("mlm", "language.en", "language.qu", "task.ner", "evaluate.ner")),
        ("train.language.negatives=9", ("mlm", "language.en", "language.qu", "task.ner", "evaluate.ner")),
        ("language.qu.max_lines=9", ("mlm", "language.en", "language.qu", "task.ner", "evaluate.ner")),
        ("train.task.epochs=2", ("task.ner-alone", "task.ner", "evaluate.ner")),
        ("train.task.ready_for=source", ("task.ner", "evaluate.ner")),
        ("task.ner.tag_column=1", ("task.ner-alone", "task.ner", "evaluate.ner")),
        ("task.ner.source=qu", ("task.ner", "evaluate.ner")),
        ("name=another", ()),
        ("store=elsewhere", ()),
        ("runs=elsewhere", ()),
        ("device=cpu", ()),
        ("train.task.lr=0.001", ()),
        ("train.task.part=bottleneck", ()),
        ("train.language.part=bottleneck", ()),
        ("train.task.part=prefix", ("task.ner-alone", "task.ner", "evaluate.ner")),
        ("train.task.part=['prefix', 'lora']", ("task.ner-alone", "task.ner", "evaluate.ner")),
        ("train.language.part=lora", ("language.en", "language.qu", "task.ner", "evaluate.ner")),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_setting_changes_the_steps_that_depend_on_it(setting: str, changed: tuple[str, ...]):
    assert list_changed(load(setting)) == changed


@pytest.mark.usefixtures("here")
def test_every_step_is_made_again_in_int8():
    base = make_base("bert", with_head=False)
    assert list_changed(load(), base) == ()
    assert list_changed(load(), dataclasses.replace(base, is_int8=True)) == STEPS


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("qu.txt", ("mlm", "language.en", "language.qu", "task.ner", "evaluate.ner")),
        ("train.conll", ("task.ner-alone", "task.ner", "evaluate.ner")),
        ("dev.conll", ("task.ner-alone", "task.ner", "evaluate.ner")),
        ("sw.conll", ("evaluate.ner",)),
    ],
)
@pytest.mark.usefixtures("here")
def test_another_byte_of_data_changes_the_steps_that_read_it(name: str, changed: tuple[str, ...]):
    before = digest(load())
    with (Path("data") / name).open("a", encoding="utf-8") as file:
        file.write("\n")
    after = digest(load())
    assert tuple(step for step in STEPS if before[step] != after[step]) == changed


def test_folders_and_names_of_files_change_nothing(here: Path):
    before = digest(load())
    shutil.copytree(here / "data", here / "moved")
    (here / "moved" / "en.txt").rename(here / "moved" / "english.txt")
    text = Path("recipe.toml").read_text().replace('root = "data"', 'root = "moved"')
    Path("other.toml").write_text(text.replace("en.txt", "english.txt"))
    assert digest(load_recipe(Path("other.toml"))) == before


@pytest.mark.usefixtures("here")
def test_another_base_changes_everything():
    assert list_changed(load(), make_base("bert", with_head=False, seed=1)) == STEPS
    changed = {"tokenizer_fingerprint": "0" * 64}
    assert list_changed(load(), dataclasses.replace(make_base("bert", with_head=False), **changed)) == STEPS


@pytest.mark.usefixtures("here")
def test_the_name_of_a_task_changes_its_scores_only():
    before = digest(load())
    text = Path("recipe.toml").read_text().replace("task.ner", "task.names")
    Path("recipe.toml").write_text(text)
    after = digest(load())
    assert after["task.names"] == before["task.ner"]
    assert after["task.names-alone"] == before["task.ner-alone"]
    assert after["evaluate.names"] != before["evaluate.ner"]


@pytest.mark.parametrize(
    ("with_head", "settings", "first"),
    [
        (False, (), "masked-LM head and bottleneck on text of en, qu"),
        (False, ("train.mlm.reduction=0",), "masked-LM head on text of en, qu"),
        (True, (), "language graft 'en' by masked-LM on en.txt"),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_masked_lm_head_comes_first_where_the_base_has_none(with_head: bool, settings: Any, first: str):
    recipe, base = load(*settings), make_base("bert", with_head=with_head)
    jobs = list_jobs(recipe, base, Corpus(recipe=recipe, tokenizer=base.tokenizer))
    assert jobs[0].description == first


@pytest.mark.usefixtures("here")
def test_steps_are_chosen_by_name_or_by_first_part():
    recipe, base = load(), make_base("bert", with_head=False)
    jobs = list_jobs(recipe, base, Corpus(recipe=recipe, tokenizer=base.tokenizer))
    assert tuple(job.name for job in jobs) == STEPS

    def choose(*only: str) -> list[str]:
        return [job.name for job in select_jobs(jobs, only)]

    assert choose("language") == ["language.en", "language.qu"]
    assert choose("task.ner", "mlm") == ["mlm", "task.ner"]
    assert choose("lang") == []


@pytest.mark.usefixtures("here")
def test_a_task_is_ready_for_its_source_and_the_tested_languages_with_text():
    recipe = load()
    assert list_ready_languages(recipe, recipe.tasks["ner"]) == ("en", "qu")
    alone = load("train.task.ready_for=source")
    assert list_ready_languages(alone, alone.tasks["ner"]) == ("en",)


@pytest.mark.usefixtures("here")
def test_another_number_of_processes_changes_every_step(monkeypatch: pytest.MonkeyPatch):
    alone = digest(load())
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not set(alone.values()) & set(digest(load()).values())


@pytest.mark.parametrize("table", [MlmSettings(), LanguageSettings(), TaskSettings()])
def test_digests_of_before_there_was_dropout_stay_valid(table: MlmSettings | LanguageSettings | TaskSettings):
    assert "dropout" not in _describe_settings(table)
    assert _describe_settings(dataclasses.replace(table, dropout=True))["dropout"] is True
