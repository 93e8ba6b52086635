"""Which plans a task is scored under, and how its scores are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.recipe.material import load

from polygraft.recipe.score import Scores, list_conditions, load_scores, save_scores
from polygraft.report.summary import ExampleSummary


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


@pytest.mark.parametrize(
    ("weight", "own"),
    [(0.5, "average(qu, en)"), (0.25, "average(qu, en, weights=0.75:0.25)"), (0.0, "qu")],
)
@pytest.mark.usefixtures("here")
def test_the_target_can_stand_in_a_mean_with_the_source(weight: float, own: str):
    recipe = load(f"train.task.source_weight={weight}")
    plans = {name: str(plan) for name, plan in list_conditions(recipe, "ner", "qu").items()}
    assert plans["source"] == "stack(en, ner)"
    assert plans["target"] == f"stack({own}, ner)"
    assert "target" not in list_conditions(recipe, "ner", "en")


def test_scores_come_back_and_damaged_ones_do_not(tmp_path: Path):
    example = ExampleSummary(language="qu", tokens=("w1",), gold=("B-LOC",), predicted={})
    scores = Scores(results=(), gains=(), examples=(example,))
    save_scores(tmp_path, "digest", scores)
    assert load_scores(tmp_path, "digest") == scores
    assert [path.name for path in tmp_path.iterdir()] == ["digest.json"]
    assert load_scores(tmp_path, "other") is None
    (tmp_path / "digest.json").write_text('{"results": 3}')
    assert load_scores(tmp_path, "digest") is None
