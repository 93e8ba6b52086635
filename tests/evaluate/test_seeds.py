"""Means over seeds, against draws of sentences that are gone through one by one."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from tests.evaluate.test_contest import GOLD, HEAD, NUM_SAMPLES, PREDICTED, list_draws, score

from polygraft.evaluate.contest import hold_contests
from polygraft.evaluate.seeds import average_seeds

OPTIONS = {"gold": GOLD, "task": "ner", "language": "qu", "source": "en"}


@pytest.mark.parametrize("metric", ["f1", "accuracy"])
def test_the_interval_of_a_mean_draws_the_same_sentences_for_all_seeds(metric: str):
    means = average_seeds(PREDICTED, metric=metric, num_samples=NUM_SAMPLES, **OPTIONS)
    assert [mean.method for mean in means] == ["full", "lora"]
    for mean, (_, seeds) in zip(means, PREDICTED.items(), strict=False):
        scores = [score(GOLD, labels, metric) for labels in seeds.values()]
        assert mean.score == pytest.approx(statistics.fmean(scores), abs=1e-12)
        assert mean.deviation == pytest.approx(statistics.stdev(scores), abs=1e-12)
        drawn = [
            statistics.fmean(
                score([GOLD[place] for place in places], [labels[place] for place in places], metric)
                for labels in seeds.values()
            )
            for places in list_draws()
        ]
        assert (mean.low, mean.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=1e-12)
        assert (mean.task, mean.language, mean.source, mean.metric) == ("ner", "qu", "en", metric)
        assert (mean.condition, mean.seeds) == ("task alone", (0, 1))


def test_the_difference_of_two_means_is_that_of_their_contest():
    full, lora = average_seeds(PREDICTED, metric="f1", **OPTIONS)
    contest = hold_contests(PREDICTED, metric="f1", **OPTIONS)[0]
    assert contest.gain == pytest.approx(full.score - lora.score, abs=1e-12)


def test_one_seed_alone_and_nothing_have_no_mean():
    assert average_seeds({HEAD: PREDICTED[HEAD]}, metric="f1", **OPTIONS) == []
    assert average_seeds({}, metric="f1", **OPTIONS) == []
