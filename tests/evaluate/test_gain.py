"""Differences of two conditions on the same sentences, against resampling written out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from seqeval.metrics import f1_score

from polygraft.errors import DataError
from polygraft.evaluate.gain import measure_gain
from polygraft.evaluate.result import Result

TAGS = np.array(["O", "B-LOC", "B-PER", "I-PER"])


def make_result(condition: str, *, score: float, metric: str = "f1") -> Result:
    return Result(
        task="ner",
        language="qu",
        condition=condition,
        plan="",
        metric=metric,
        score=score,
        num_sentences=40,
        num_gold=40,
        seconds=1.0,
        tokens_per_second=1.0,
        seed=3,
    )


def make_rows(rng: np.random.Generator, gold: list[list[str]], *, wrong: float) -> list[list[str]]:
    """Labels with a share of them replaced by chance."""
    return [[str(rng.choice(TAGS)) if rng.random() < wrong else tag for tag in row] for row in gold]


@pytest.mark.parametrize("metric", ["f1", "accuracy"])
def test_a_gain_and_its_interval_are_those_of_scores_computed_anew_for_each_draw(metric: str):
    rng = np.random.default_rng(1)
    gold = [[str(tag) for tag in rng.choice(TAGS, size=9)] for _ in range(40)]
    first, second = (make_rows(rng, gold, wrong=share) for share in (0.2, 0.3))

    def score(rows: list[list[str]], places: np.ndarray) -> float:
        if metric == "f1":
            return float(f1_score([gold[i] for i in places], [rows[i] for i in places]))
        pairs = [pair for i in places for pair in zip(gold[i], rows[i], strict=True)]
        return float(np.mean([a == b for a, b in pairs]))

    everything = np.arange(40)
    scores = [score(rows, everything) for rows in (first, second)]
    found = measure_gain(
        make_result("target", score=scores[0], metric=metric),
        make_result("source", score=scores[1], metric=metric),
        gold=gold,
        predicted=first,
        against=second,
    )
    draws = [rng.integers(40, size=40) for _ in range(600)]
    differences = [score(first, places) - score(second, places) for places in draws]
    assert found.gain == pytest.approx(scores[0] - scores[1])
    # Two samples of draws: ends agree to the noise of 600 of them.
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])), abs=0.03)
    assert (found.condition, found.other, found.language, found.seed) == ("target", "source", "qu", 3)


def test_equal_predictions_gain_nothing_for_sure():
    gold = [["B-LOC", "O"], ["B-PER", "I-PER"]]
    one = make_result("target", score=1.0)
    found = measure_gain(
        one, dataclasses.replace(one, condition="none"), gold=gold, predicted=gold, against=gold
    )
    assert (found.gain, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_predictions_of_other_sentences_are_refused():
    one = make_result("target", score=1.0)
    with pytest.raises(DataError):
        measure_gain(one, one, gold=[["O"]], predicted=[["O"]], against=[["O"], ["O"]])
