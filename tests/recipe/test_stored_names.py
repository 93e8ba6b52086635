"""Which version of a stored graft its name means after runs of several recipes."""

from __future__ import annotations

from pathlib import Path

from tests.recipe.material import (
    BARE,
    HEADED,
    find_end,
    list_sentences,
    load,
    names_of,
    run_all,
)

from polygraft.recipe.events import (
    StepStarted,
)
from polygraft.recipe.run import run_recipe
from polygraft.store.store import Store


def test_names_mean_the_grafts_of_the_recipe_that_ran_last(here: Path):
    store, other = Store(Path("store")), "train.language.steps=2"
    run_all(load(*HEADED), only=["language"])
    run_all(load(*HEADED, other), only=["language.qu"])
    assert [store.latest(name) for name in ("en", "qu")] == [1, 2]
    list(run_recipe(load(*HEADED), only=["language"], dry_run=True))
    assert store.latest("qu") == 2
    sentences = list_sentences(run_all(load(*HEADED), only=["language"]))
    assert sentences[0] == (
        "The name 'qu' now means version 1, which this recipe made; it meant version 2, which stays in the store."
    )
    assert [store.latest(name) for name in ("en", "qu")] == [1, 1]
    assert store.versions("qu") == [1, 2]


def test_a_graft_that_another_recipe_named_otherwise_is_there_under_both_names(here: Path):
    first = find_end(run_all(load(*BARE))).summary
    path = Path("recipe.toml")
    path.write_text(path.read_text().replace("task.ner", "task.tags"))
    list(run_recipe(load(*BARE), dry_run=True))
    assert "tags" not in Store(Path("store")).names()
    events = run_all(load(*BARE))
    assert names_of(events, StepStarted) == ["evaluate.tags"]
    store = Store(Path("store"))
    assert store.manifest("tags").sha256 == store.manifest("ner").sha256
    plans = {result.plan for result in find_end(events).summary.results}
    assert plans == {result.plan.replace("ner", "tags") for result in first.results}


def test_a_graft_that_was_renamed_is_copied_back_once(here: Path):
    store = Store(Path("store"))
    run_all(load(*HEADED), only=["language"])
    store.rename("en", "earlier")
    for _ in range(3):
        run_all(load(*HEADED), only=["language"])
    assert {name: store.versions(name) for name in store.names()} == {"earlier": [1], "en": [1], "qu": [1]}
