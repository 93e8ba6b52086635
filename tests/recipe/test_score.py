"""Which plans a task is scored under, and which sentences a report shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.recipe.material import load

from polygraft.data.example import LabelledText, TaggedSentence
from polygraft.evaluate.run import Predictions
from polygraft.recipe.score import Scores, choose_examples, list_conditions, load_scores, save_scores


@pytest.mark.usefixtures("here")
def test_the_target_is_a_condition_where_it_has_text():
    recipe = load()
    plans = {
        language: {name: str(plan) for name, plan in list_conditions(recipe, "ner", language).items()}
        for language in ("en", "qu", "sw")
    }
    assert (
        plans["en"] == plans["sw"] == {"task alone": "ner-alone", "none": "ner", "source": "stack(en, ner)"}
    )
    assert plans["qu"] == {**plans["en"], "target": "stack(qu, ner)"}


def make_sentence(number: int, *, words: int, tagged: bool) -> TaggedSentence:
    tags = ["O"] * words
    if tagged:
        tags[0] = "B-LOC"
    return TaggedSentence(tuple(f"w{number}" for _ in range(words)), tuple(tags), number)


def test_examples_are_readable_have_something_to_find_and_spread_over_the_file():
    sentences = [make_sentence(number, words=5, tagged=number % 2 == 0) for number in range(36)]
    sentences += [make_sentence(90, words=3, tagged=True), make_sentence(91, words=25, tagged=True)]
    labels = tuple(sentence.tags for sentence in sentences)
    found = Predictions(labels=labels, num_cut=(), seconds=1.0, num_tokens=1)
    examples = choose_examples("qu", sentences, {"target": found})
    assert [example.tokens[0] for example in examples] == ["w0", "w6", "w12", "w18", "w24", "w30"]
    assert all(example.predicted["target"] == example.gold for example in examples)
    assert {example.language for example in examples} == {"qu"}


def test_texts_have_no_examples():
    assert choose_examples("qu", [LabelledText("good", "a", 1)], {}) == []
    assert choose_examples("qu", [], {}) == []


def test_scores_come_back_and_damaged_ones_do_not(tmp_path: Path):
    sentences = [make_sentence(1, words=5, tagged=True)]
    examples = choose_examples("qu", sentences, {})
    save_scores(tmp_path, "digest", Scores(results=(), examples=tuple(examples), gains=()))
    assert load_scores(tmp_path, "digest") == Scores(results=(), examples=tuple(examples), gains=())
    assert [path.name for path in tmp_path.iterdir()] == ["digest.json"]
    assert load_scores(tmp_path, "other") is None
    (tmp_path / "digest.json").write_text('{"results": 3}')
    assert load_scores(tmp_path, "digest") is None
