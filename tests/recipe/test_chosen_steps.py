"""Runs of some of a recipe's steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.recipe.material import (
    BARE,
    HEADED,
    find_end,
    list_sentences,
    load,
    names_of,
    run_all,
)

from polygraft.errors import RecipeError
from polygraft.recipe.events import (
    StepFinished,
    StepSkipped,
)
from polygraft.store.store import Store


def test_chosen_steps_are_run_alone(here: Path):
    events = run_all(load(*BARE), only=["mlm", "language.qu"])
    assert names_of(events, StepFinished) == ["mlm", "language.qu"]
    assert sorted(Store(Path("store")).names()) == ["mlm", "qu"]
    assert names_of(run_all(load(*BARE)), StepSkipped) == ["mlm", "language.qu"]


def test_results_of_earlier_runs_stay_when_steps_are_chosen(here: Path):
    whole = find_end(run_all(load(*HEADED)))
    chosen = find_end(run_all(load(*HEADED), only=["language"]))
    assert chosen.summary.results == whole.summary.results
    assert len(json.loads(Path("runs/recipe/results.json").read_text())["results"]) == 10


def test_results_of_an_earlier_run_are_not_replaced_by_none(here: Path):
    run_all(load(*HEADED))
    before = {path.name: path.read_bytes() for path in Path("runs/recipe").iterdir() if path.is_file()}
    events = run_all(load(*HEADED, "train.language.steps=2"), only=["language"])
    assert list_sentences(events)[-1] == (
        "No scores belong to the recipe as it is now. The results of an earlier run in runs/recipe were left as they "
        "are; run the recipe without --only to renew them."
    )
    assert find_end(events).summary.results == ()
    assert {
        path.name: path.read_bytes() for path in Path("runs/recipe").iterdir() if path.is_file()
    } == before


@pytest.mark.parametrize(
    ("only", "sentence"),
    [
        (
            "language.que",
            "The recipe has no step 'language.que'. Its steps are language.en, language.qu, task.ner-alone, task.ner, "
            "evaluate.ner. Did you mean 'language.qu'? Correct the name.",
        ),
        (
            "task.ner",
            "A step needs the graft 'en', which was not trained yet. Expected it in the store 'store'. Run the recipe "
            "without --only, or with the step that makes it.",
        ),
        (
            "evaluate",
            "A step needs the graft 'ner-alone', which was not trained yet. Expected it in the store 'store'. Run the "
            "recipe without --only, or with the step that makes it.",
        ),
    ],
)
def test_a_chosen_step_that_cannot_be_run_is_said(here: Path, only: str, sentence: str):
    with pytest.raises(RecipeError) as caught:
        run_all(load(*HEADED), only=[only])
    assert str(caught.value) == sentence
