"""Contests between methods, against draws of sentences that are gone through one by one."""

from __future__ import annotations

import numpy as np
import pytest

from polygraft.errors import DataError
from polygraft.evaluate.contest import Contest, System, hold_contests, is_clear
from polygraft.evaluate.gain import Labels
from polygraft.evaluate.labels import score_labels
from polygraft.evaluate.spans import score_spans

TAGS = ("O", "B-LOC", "I-LOC", "B-PER")
NUM_SAMPLES = 40
FULL, LORA, HEAD = (System(method=name, condition="task alone") for name in ("full", "lora", "head"))


def draw_labels(seed: int, *, like: Labels | None = None, wrong: float = 0.3) -> list[tuple[str, ...]]:
    """Tags by chance, or a copy of some with a share of them changed."""
    rng = np.random.default_rng(seed)
    if like is None:
        return [tuple(rng.choice(TAGS, size=int(rng.integers(3, 8))).tolist()) for _ in range(25)]
    return [tuple(str(rng.choice(TAGS)) if rng.random() < wrong else tag for tag in row) for row in like]


GOLD = draw_labels(0)
PREDICTED = {
    FULL: {seed: draw_labels(10 + seed, like=GOLD, wrong=0.2) for seed in (0, 1)},
    LORA: {seed: draw_labels(20 + seed, like=GOLD, wrong=0.3) for seed in (0, 1)},
    HEAD: {1: draw_labels(30, like=GOLD, wrong=0.9)},
}


def score(gold: Labels, predicted: Labels, metric: str) -> float:
    if metric == "f1":
        return score_spans(gold, predicted).f1
    return score_labels(
        [tag for row in gold for tag in row], [tag for row in predicted for tag in row]
    ).accuracy


def list_draws() -> list[list[int]]:
    """The sentences of each draw, of the generator that bootstraps use."""
    rng = np.random.default_rng(0)
    return rng.integers(len(GOLD), size=(NUM_SAMPLES, len(GOLD))).tolist()


@pytest.mark.parametrize("metric", ["f1", "accuracy"])
def test_a_contest_is_the_mean_over_seeds_of_scores_on_the_same_sentences(metric: str):
    contests = hold_contests(
        PREDICTED, gold=GOLD, metric=metric, task="ner", language="qu", source="en", num_samples=NUM_SAMPLES
    )
    assert [(each.method, each.other_method) for each in contests] == [
        ("full", "lora"),
        ("full", "head"),
        ("lora", "head"),
    ]
    for contest in contests:
        first, other = (
            PREDICTED[System(method=contest.method, condition="task alone")],
            PREDICTED[System(method=contest.other_method, condition="task alone")],
        )
        seeds = [seed for seed in first if seed in other]
        gains = {
            str(seed): score(GOLD, first[seed], metric) - score(GOLD, other[seed], metric) for seed in seeds
        }
        assert contest.by_seed == pytest.approx(gains, abs=1e-12)
        assert contest.gain == pytest.approx(sum(gains.values()) / len(gains), abs=1e-12)
        drawn: list[float] = []
        for places in list_draws():
            gold = [GOLD[place] for place in places]
            drawn.append(
                sum(
                    score(gold, [first[seed][place] for place in places], metric)
                    - score(gold, [other[seed][place] for place in places], metric)
                    for seed in seeds
                )
                / len(seeds)
            )
        low, high = np.quantile(drawn, [0.025, 0.975])
        assert (contest.low, contest.high) == pytest.approx((low, high), abs=1e-12)
        tail = min(sum(each <= 0 for each in drawn), sum(each >= 0 for each in drawn))
        assert contest.p_value == min(1.0, 2 * (tail + 1) / (NUM_SAMPLES + 1))
        assert (contest.task, contest.language, contest.source, contest.metric) == ("ner", "qu", "en", metric)


def test_methods_without_a_common_seed_and_one_alone_have_no_contest():
    apart = {FULL: {0: GOLD}, LORA: {1: GOLD}}
    options = {"gold": GOLD, "metric": "f1", "task": "ner", "language": "qu", "source": "en"}
    assert hold_contests(apart, **options) == []
    assert hold_contests({FULL: {0: GOLD}}, **options) == []
    assert hold_contests({}, **options) == []


def test_labels_for_another_test_set_are_refused():
    with pytest.raises(DataError) as caught:
        hold_contests(
            {FULL: {0: GOLD}, LORA: {0: GOLD[1:]}},
            gold=GOLD,
            metric="f1",
            task="ner",
            language="qu",
            source="en",
        )
    assert str(caught.value) == (
        "The method 'lora' has labels for 24 sentences of a test set of 25. Expected one row a sentence. Score it "
        "again."
    )


@pytest.mark.parametrize(
    ("gains", "p_value", "expected"),
    [
        ((0.232, 0.016, -0.019), 0.002, False),
        ((0.232, 0.016, 0.0), 0.002, False),
        ((0.232, 0.016, 0.019), 0.002, True),
        ((-0.232, -0.016, -0.019), 0.049, True),
        ((-0.232, -0.016, -0.019), 0.05, False),
        ((0.02,), 0.01, True),
    ],
)
def test_a_difference_is_clear_where_neither_sentences_nor_seeds_turn_it(
    gains: tuple[float, ...], p_value: float, expected: bool
):
    contest = Contest(
        task="ner",
        language="qu",
        source="en",
        metric="f1",
        method="full",
        condition="task alone",
        other_method="lora",
        other_condition="task alone",
        gain=sum(gains) / len(gains),
        low=0.01,
        high=0.2,
        p_value=0.001,
        by_seed={str(seed): gain for seed, gain in enumerate(gains)},
    )
    assert is_clear(contest, p_value=p_value) is expected
