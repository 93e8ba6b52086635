"""Tasks whose labels are there in several languages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.recipe.material import RECIPE, find_end, load, run_all

from polygraft.errors import RecipeError
from polygraft.recipe.sources import spread_sources

ORDERED = {
    "source": ["en", "qu"],
    "train": "{source}/train.conll",
    "dev": "{source}/dev.conll",
    "test": {"en": "x"},
}


def test_each_source_is_a_task_and_the_first_keeps_the_name():
    assert spread_sources({"ner": ORDERED, "pos": {"source": "en", "train": "a"}}) == {
        "ner": {
            "task": "ner",
            "source": "en",
            "train": "en/train.conll",
            "dev": "en/dev.conll",
            "test": {"en": "x"},
        },
        "ner-from-qu": {
            "task": "ner",
            "source": "qu",
            "train": "qu/train.conll",
            "dev": "qu/dev.conll",
            "test": {"en": "x"},
        },
        "pos": {"source": "en", "train": "a"},
    }


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (
            {"source": []},
            "The recipe has task.ner.source = []. Expected a language, or a list of languages, each once. Correct the "
            "value.",
        ),
        (
            {"source": ["en", "en"]},
            "The recipe has task.ner.source = ['en', 'en']. Expected a language, or a list of languages, each once. "
            "Correct the value.",
        ),
        (
            {"source": ["en", 3]},
            "The recipe has task.ner.source = ['en', 3]. Expected a language, or a list of languages, each once. "
            "Correct the value.",
        ),
        (
            {"train": "train.conll"},
            "The recipe has task.ner.train = 'train.conll' for 2 sources. Expected {source} in it, which stands for "
            'each of them, such as "ner/{source}/train.conll". Write it so.',
        ),
    ],
)
def test_what_cannot_be_spread_is_said(table: dict[str, Any], sentence: str):
    with pytest.raises(RecipeError) as caught:
        spread_sources({"ner": {**ORDERED, **table}})
    assert str(caught.value) == sentence


def test_a_name_that_a_source_takes_is_refused():
    with pytest.raises(RecipeError) as caught:
        spread_sources({"ner": ORDERED, "ner-from-qu": {"source": "en"}})
    assert str(caught.value) == (
        "The recipe has [task.ner-from-qu], and a task with several sources makes one of that name. Rename the table."
    )


def test_a_recipe_with_two_sources_scores_both_ways(here: Path):
    for language, file in (("en", "train"), ("qu", "qu")):
        (here / f"data/{language}-train.conll").write_bytes((here / f"data/{file}.conll").read_bytes())
        (here / f"data/{language}-dev.conll").write_bytes((here / "data/dev.conll").read_bytes())
    text = RECIPE.replace('source = "en"', 'source = ["en", "qu"]')
    text = text.replace('"train.conll"', '"{source}-train.conll"').replace(
        '"dev.conll"', '"{source}-dev.conll"'
    )
    Path("recipe.toml").write_text(text, encoding="utf-8")
    summary = find_end(run_all(load('methods=["madx"]'))).summary
    assert [
        (each.task, each.source, each.language, each.plan)
        for each in summary.results
        if each.condition == "target"
    ] == [
        ("ner", "en", "qu", "stack(qu, ner-madx)"),
        ("ner", "qu", "en", "stack(en, ner-from-qu-madx)"),
    ]
    assert {each.task for each in summary.results} == {"ner"}
