from __future__ import annotations

from dataclasses import replace

import pytest

from polygraft.evaluate.forgetting import measure_forgetting
from polygraft.evaluate.result import Result
from polygraft.evaluate.spans import TypeScore


def score(
    task: str,
    value: float,
    *,
    after: str = "",
    language: str = "en",
    condition: str = "task alone",
    method: str = "sequential",
    seed: int = 0,
    source: str = "en",
    predictions: str = "",
) -> Result:
    return Result(
        task=task,
        language=language,
        condition=condition,
        plan=task,
        metric="f1",
        score=value,
        num_sentences=10,
        num_gold=20,
        seconds=1.0,
        tokens_per_second=100.0,
        seed=seed,
        method=method,
        source=source,
        after=after,
        predictions=predictions,
    )


def test_three_tasks_worked_out_by_hand():
    # The matrix, rows after which task, columns of which task:
    #   0.80
    #   0.85  0.70
    #   0.40  0.60  0.90
    results = [score("ner", 0.80), score("pos", 0.70), score("topic", 0.90)]
    rechecks = [
        score("ner", 0.85, after="pos"),
        score("ner", 0.40, after="topic"),
        score("pos", 0.60, after="topic"),
    ]
    [found] = measure_forgetting(results, rechecks)
    assert found.stages == ("ner", "pos", "topic")
    assert [history.scores for history in found.histories] == [(0.80, 0.85, 0.40), (0.70, 0.60), (0.90,)]
    assert [history.forgetting for history in found.earlier] == pytest.approx([0.45, 0.10])
    assert [history.transfer for history in found.earlier] == pytest.approx([-0.40, -0.10])
    assert found.average == pytest.approx(0.275)
    assert found.backward_transfer == pytest.approx(-0.25)
    assert found.is_same is None


def test_what_later_tasks_help_is_forgotten_less_than_nothing():
    [found] = measure_forgetting([score("ner", 0.5), score("pos", 0.7)], [score("ner", 0.6, after="pos")])
    assert found.average == pytest.approx(-0.1)
    assert found.backward_transfer == pytest.approx(0.1)


def test_a_tasks_score_is_the_mean_over_its_languages_under_the_condition_that_is_scored_again():
    results = [
        score("ner", 0.8, condition="none"),
        score("ner", 0.6, condition="source"),
        score("ner", 0.1, language="qu", condition="source"),
        score("ner", 0.4, language="qu", condition="target"),
        score("pos", 0.3, condition="none"),
        score("pos", 0.9, condition="source"),
    ]
    rechecks = [
        score("ner", 0.5, condition="source", after="pos"),
        score("ner", 0.2, language="qu", condition="target", after="pos"),
    ]
    [found] = measure_forgetting(results, rechecks)
    assert [history.scores for history in found.histories] == [
        (pytest.approx(0.5), pytest.approx(0.35)),
        (0.9,),
    ]


def test_equal_digests_of_all_predictions_prove_that_nothing_changed():
    results = [
        score("ner", 0.8, predictions="a"),
        score("ner", 0.7, language="qu", predictions="b"),
        score("pos", 0.9, predictions="c"),
    ]
    same = [
        score("ner", 0.8, after="pos", predictions="a"),
        score("ner", 0.7, language="qu", after="pos", predictions="b"),
    ]
    [found] = measure_forgetting(results, same)
    assert found.is_same is True
    assert (found.histories[0].num_same, found.histories[0].num_compared) == (2, 2)
    # An equal score is no proof: other labels can score the same.
    [changed] = measure_forgetting(
        results, [same[0], score("ner", 0.7, language="qu", after="pos", predictions="x")]
    )
    assert (changed.is_same, changed.average) == (False, 0.0)
    [unknown] = measure_forgetting(results, [same[0], score("ner", 0.7, language="qu", after="pos")])
    assert unknown.is_same is None


def test_methods_seeds_and_sources_are_kept_apart():
    results = [
        score("ner", 0.8),
        score("ner", 0.6, source="swa"),
        score("ner", 0.7, seed=1),
        score("ner", 0.5, seed=1, source="swa"),
        score("ner", 0.9, method="lora"),
    ]
    rechecks = [
        score("ner", 0.3, after="ner-from-swa"),
        score("ner", 0.6, seed=1, after="ner-from-swa"),
    ]
    found = measure_forgetting(results, rechecks)
    assert [(each.method, each.seed, each.stages) for each in found] == [
        ("sequential", 0, ("ner", "ner-from-swa")),
        ("sequential", 1, ("ner", "ner-from-swa")),
    ]
    assert [each.average for each in found] == pytest.approx([0.5, 0.1])
    assert [history.source for history in found[0].histories] == ["en", "swa"]


def test_without_a_second_score_there_is_nothing_to_say():
    assert measure_forgetting([score("ner", 0.8)], []) == ()
    assert measure_forgetting([], [score("ner", 0.8, after="pos")]) == ()


def test_a_test_set_with_nothing_to_find_does_not_water_down_what_was_forgotten():
    empty = replace(score("ner", 0.0, language="qu"), num_gold=0)
    results = [score("ner", 0.8), empty, score("pos", 0.7)]
    rechecks = [score("ner", 0.5, after="pos"), replace(empty, after="pos")]
    [found] = measure_forgetting(results, rechecks)
    assert found.histories[0].scores == (0.8, 0.5)
    assert found.average == pytest.approx(0.3)
    [alone] = measure_forgetting([empty, score("pos", 0.7, language="qu")], [replace(empty, after="pos")])
    assert alone.histories[0].scores == (0.0, 0.0)


@pytest.mark.parametrize(
    ("value", "metric", "num_predicted", "is_silent"),
    [(0.0, "f1", 0, True), (0.0, "f1", 2, False), (0.1, "f1", 2, False), (0.0, "accuracy", 0, False)],
)
def test_a_task_in_which_nothing_was_predicted_is_known(
    value: float, metric: str, num_predicted: int, is_silent: bool
):
    by_type = {"LOC": TypeScore(precision=0, recall=0, f1=0, num_gold=9, num_predicted=num_predicted)}
    first = replace(score("ner", value), metric=metric, by_type=by_type)
    [found] = measure_forgetting([first, score("pos", 0.7)], [replace(first, after="pos")])
    assert [history.is_silent for history in found.histories] == [is_silent, False]
