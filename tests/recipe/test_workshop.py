"""What the steps of a run share."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
from tests.recipe.material import load, read_grafts, run_all
from tests.tiny import make_base

from polygraft.recipe.caching import open_cache
from polygraft.recipe.corpus import Corpus
from polygraft.recipe.events import StepStarted
from polygraft.recipe.run import run_recipe
from polygraft.recipe.workshop import Workshop
from polygraft.store.store import Store
from polygraft.train.prefix import PrefixCache


@pytest.fixture
def caches(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[PrefixCache]]:
    """Every cache that is made."""
    made: list[weakref.ref[PrefixCache]] = []

    def open_and_note(*words: Any, **options: Any) -> PrefixCache | None:
        cache = open_cache(*words, **options)
        if cache is not None:
            made.append(weakref.ref(cache))
        return cache

    monkeypatch.setattr("polygraft.recipe.workshop.open_cache", open_and_note)
    return made


TOPIC = """
[task.pos]
source = "en"
train = "train.conll"
dev = "dev.conll"
[task.pos.test]
en = "en.conll"
[task.other]
source = "en"
train = "dev.conll"
dev = "train.conll"
[task.other.test]
en = "en.conll"
"""


def test_tasks_on_the_same_data_share_what_frozen_layers_give_until_none_needs_it(
    here: Path, caches: list[weakref.ref[PrefixCache]]
):
    path = here / "recipe.toml"
    path.write_text(path.read_text(encoding="utf-8") + TOPIC, encoding="utf-8")
    recipe = load("train.task.skip_layers=[0,1]", "train.task.epochs=1", "train.task.ready_for=source")
    alive: dict[str, list[bool]] = {}
    for event in run_recipe(recipe):
        if isinstance(event, StepStarted):
            gc.collect()
            alive[event.name] = [cache() is not None for cache in caches]
    assert alive["task.ner"] == alive["task.pos-alone"] == alive["task.pos"] == [True]
    # What no further task trains on is let go.
    assert alive["evaluate.pos"] == alive["task.other-alone"] == [False]
    assert (alive["task.other"], alive["evaluate.other"]) == ([False, True], [False, False])
    costs = {
        name: Store(Path("store")).manifest(name).cost for name in ("ner-alone", "pos-alone", "other-alone")
    }
    assert [cost["looked_up"] for cost in costs.values()] == [0, 1, 0]


def test_what_is_shared_changes_no_bit(here: Path):
    settings = ("train.task.skip_layers=[0,1]", "train.task.epochs=2")
    run_all(load(*settings))
    run_all(load(*settings, "store='plain'", "runs='plain-runs'", "train.task.cache=off"))
    grafts = read_grafts(Path("store"))
    assert grafts == read_grafts(Path("plain"))
    assert Store(Path("store")).manifest("ner").cost["looked_up"] > 0


@pytest.mark.parametrize("dropout", [False, True])
def test_a_task_that_learns_with_dropout_keeps_nothing(
    here: Path, caches: list[weakref.ref[PrefixCache]], dropout: bool
):
    recipe, base = load(f"train.task.dropout={str(dropout).lower()}"), make_base("bert")
    workshop = Workshop(
        recipe=recipe,
        base=base,
        store=Store(here / "store"),
        corpus=Corpus(recipe=recipe, tokenizer=base.tokenizer),
        should_stop=lambda: False,
    )
    assert (workshop.share_cache(recipe.tasks["ner"].train) is None) == dropout
    assert (caches == []) == dropout
