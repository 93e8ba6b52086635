from __future__ import annotations

import math

import numpy as np
import pytest

from polygraft.errors import DataError, OptionError
from polygraft.evaluate import bootstrap
from polygraft.evaluate.bootstrap import Interval, bootstrap_interval, paired_bootstrap
from polygraft.evaluate.labels import accuracy_of_counts
from polygraft.evaluate.spans import f1_of_counts


def random_counts(num_items: int, *, skill: float = 0.7, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    gold, predicted = rng.integers(0, 5, num_items), rng.integers(0, 5, num_items)
    correct = rng.binomial(np.minimum(gold, predicted), skill)
    return np.stack([correct, predicted, gold], axis=1)


def slow_scores(counts: np.ndarray, *, num_samples: int, seed: int) -> list[float]:
    """One sentence after the other, one sample after the other, with numbers of Python only."""
    rng = np.random.default_rng(seed)
    scores = []
    for _ in range(num_samples):
        sums = [0] * counts.shape[1]
        for _ in range(len(counts)):
            row = counts[int(rng.integers(len(counts)))]
            sums = [total + int(count) for total, count in zip(sums, row, strict=True)]
        scores.append(2 * sums[0] / (sums[1] + sums[2]) if sums[1] + sums[2] else 0.0)
    return scores


def percentile(values: list[float], share: float) -> float:
    values = sorted(values)
    place = share * (len(values) - 1)
    below = math.floor(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (place - below) * (values[above] - values[below])


@pytest.mark.parametrize("num_items", [1, 2, 37])
@pytest.mark.parametrize("cells", [10**6, 100, 1])
def test_the_interval_is_that_of_a_slow_loop(num_items: int, cells: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bootstrap, "_CELLS", cells)
    counts = random_counts(num_items)
    interval = bootstrap_interval(counts, f1_of_counts, num_samples=61, seed=5, level=0.9)
    scores = slow_scores(counts, num_samples=61, seed=5)
    assert interval.low == pytest.approx(percentile(scores, 0.05))
    assert interval.high == pytest.approx(percentile(scores, 0.95))


def test_a_paired_difference_is_that_of_a_slow_loop():
    first, second = random_counts(40, skill=0.8), random_counts(40, skill=0.7)
    found = paired_bootstrap(first, second, f1_of_counts, num_samples=80, seed=2)
    pairs = zip(
        slow_scores(first, num_samples=80, seed=2), slow_scores(second, num_samples=80, seed=2), strict=True
    )
    differences = [a - b for a, b in pairs]
    assert found.mean == pytest.approx(sum(differences) / 80)
    assert found.low == pytest.approx(percentile(differences, 0.025))
    assert found.high == pytest.approx(percentile(differences, 0.975))
    tail = min(sum(d <= 0 for d in differences), sum(d >= 0 for d in differences))
    assert found.p_value == pytest.approx(min(1.0, 2 * (tail + 1) / 81))


def test_the_interval_of_an_accuracy_is_the_binomial_one():
    counts = np.array([[1, 1]] * 300 + [[0, 1]] * 100)
    interval = bootstrap_interval(counts, accuracy_of_counts, num_samples=4000)
    half = 1.96 * math.sqrt(0.75 * 0.25 / 400)
    assert interval.low == pytest.approx(0.75 - half, abs=0.004)
    assert interval.high == pytest.approx(0.75 + half, abs=0.004)


def test_a_seed_gives_one_interval_and_another_seed_another():
    counts = random_counts(50)
    assert bootstrap_interval(counts, f1_of_counts) == bootstrap_interval(counts, f1_of_counts)
    assert bootstrap_interval(counts, f1_of_counts) != bootstrap_interval(counts, f1_of_counts, seed=1)


def test_equal_systems_do_not_differ():
    counts = random_counts(50)
    found = paired_bootstrap(counts, counts, f1_of_counts)
    assert (found.mean, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_the_better_system_is_found_from_either_side():
    better, worse = np.array([[2, 2, 2]] * 60), np.array([[1, 2, 2]] * 60)
    ahead = paired_bootstrap(better, worse, f1_of_counts, num_samples=999)
    behind = paired_bootstrap(worse, better, f1_of_counts, num_samples=999)
    assert (ahead.mean, behind.mean) == (0.5, -0.5)
    assert ahead.p_value == behind.p_value == 0.002


def test_one_item_has_an_interval_without_width():
    assert bootstrap_interval(np.array([[1, 2, 2]]), f1_of_counts) == Interval(low=0.5, high=0.5)


def test_no_items_are_refused():
    with pytest.raises(DataError) as caught:
        bootstrap_interval(np.empty((0, 3), dtype=np.int64), f1_of_counts)
    assert str(caught.value) == (
        "Counts have the shape (0, 3). A row of counts for each of at least one item was expected. "
        "Check that the test set is not empty."
    )


def test_systems_on_other_items_are_refused():
    with pytest.raises(DataError) as caught:
        paired_bootstrap(random_counts(3), random_counts(4), f1_of_counts)
    assert str(caught.value) == (
        "The first system has counts of the shape (3, 3), the second (4, 3). The same items were "
        "expected for both. Score both systems on one test set."
    )


def test_numbers_out_of_range_are_refused():
    with pytest.raises(OptionError) as caught:
        bootstrap_interval(random_counts(3), f1_of_counts, num_samples=0)
    assert str(caught.value) == (
        "num_samples is 0. At least 1 was expected. Give more draws; 1000 are common."
    )
    with pytest.raises(OptionError) as caught:
        bootstrap_interval(random_counts(3), f1_of_counts, level=95)
    assert str(caught.value) == (
        "level is 95. A share between 0 and 1 was expected. Give such a share; 0.95 is common."
    )
