from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polygraft.data.batches import pad_length, padding_share, plan_batches, plan_eval_batches
from polygraft.errors import OptionError

lengths = st.lists(st.integers(0, 60), max_size=200).map(lambda values: np.array(values, dtype=np.int64))
budgets = st.integers(1, 200)


def check_cover(sizes: np.ndarray, batches: list[np.ndarray], budget: int) -> None:
    rows = np.concatenate([np.empty(0, dtype=np.int64), *batches])
    assert sorted(rows.tolist()) == list(range(len(sizes)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * min(pad_length(sizes[batch].max()), sizes.max()) <= budget


@given(lengths, budgets, st.integers(0, 2**40), st.integers(0, 50), st.integers(1, 300))
def test_every_row_is_in_exactly_one_batch_within_the_budget(sizes, budget, seed, epoch, window):
    batches = plan_batches(sizes, token_budget=budget, seed=seed, epoch=epoch, window=window)
    check_cover(sizes, batches, budget)
    again = plan_batches(sizes, token_budget=budget, seed=seed, epoch=epoch, window=window)
    assert [batch.tolist() for batch in again] == [batch.tolist() for batch in batches]


@given(lengths, budgets)
def test_evaluation_batches_hold_every_row_longest_first(sizes, budget):
    batches = plan_eval_batches(sizes, token_budget=budget)
    check_cover(sizes, batches, budget)
    in_order = sizes[np.concatenate([np.empty(0, dtype=np.int64), *batches])]
    assert (np.diff(in_order) <= 0).all()


def test_seed_and_epoch_each_change_the_order():
    sizes = np.full(64, 10)
    plans = [
        np.concatenate(plan_batches(sizes, token_budget=80, seed=seed, epoch=epoch)).tolist()
        for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1)]
    ]
    assert len({tuple(plan) for plan in plans}) == 4


def test_the_order_is_the_same_on_every_machine():
    batches = plan_batches(np.array([5, 9, 2, 7, 7, 3, 1, 8]), token_budget=16, seed=3, epoch=1)
    assert [batch.tolist() for batch in batches] == [[7, 3], [1], [4, 0], [5, 2, 6]]


def test_a_row_longer_than_the_budget_is_alone():
    batches = plan_eval_batches(np.array([3, 50, 3]), token_budget=6)
    assert [batch.tolist() for batch in batches] == [[1], [0, 2]]


def test_sorting_inside_windows_leaves_little_padding():
    sizes = np.random.default_rng(0).integers(5, 128, size=20_000)
    batches = plan_batches(sizes, token_budget=4096, seed=0, epoch=0)
    unsorted = plan_batches(sizes, token_budget=4096, seed=0, epoch=0, window=1)
    assert padding_share(sizes, batches) < 0.03
    assert padding_share(sizes, unsorted) > 0.1
    assert len(batches) < 350


def test_large_batches_are_taken_from_larger_windows():
    sizes = np.random.default_rng(0).integers(5, 128, size=60_000)
    usual = plan_batches(sizes, token_budget=16_384, seed=0, epoch=0)
    narrow = plan_batches(sizes, token_budget=16_384, seed=0, epoch=0, window=4096)
    assert padding_share(sizes, usual) < 0.03 < 0.04 < padding_share(sizes, narrow)


@given(st.integers(1, 100_000))
def test_lengths_are_padded_by_a_sixteenth_at_most(length: int):
    padded = pad_length(length)
    assert length <= padded <= length * 17 / 16
    assert pad_length(padded) == padded


def test_there_are_sixteen_padded_lengths_between_powers_of_two():
    assert [
        len({pad_length(length) for length in range(n + 1, 2 * n + 1)}) for n in (16, 32, 64, 128, 512)
    ] == [16] * 5


def test_training_has_few_shapes_of_batches():
    sizes = np.random.default_rng(0).integers(5, 129, size=30_000)
    batches = plan_batches(sizes, token_budget=2048, seed=0, epoch=0)
    shapes = {(len(batch), pad_length(sizes[batch].max())) for batch in batches}
    full = {shape for shape in shapes if shape[0] == 2048 // shape[1]}
    assert len(full) <= 16 * 4
    assert len(shapes - full) <= 1


def test_batches_are_not_in_order_of_length():
    sizes = np.arange(1, 1001)
    longest = [sizes[batch].max() for batch in plan_batches(sizes, token_budget=2000, seed=0, epoch=0)]
    assert 0.3 < np.mean(np.diff(longest) > 0) < 0.7


def test_padding_is_counted():
    assert padding_share(np.array([4, 2, 1]), [np.array([0, 1]), np.array([2])]) == pytest.approx(2 / 9)
    assert padding_share(np.array([], dtype=np.int64), []) == 0.0


def test_numbers_out_of_range_are_refused():
    sizes = np.array([3])
    with pytest.raises(OptionError) as caught:
        plan_batches(sizes, token_budget=0, seed=0, epoch=0)
    assert str(caught.value) == (
        "token_budget is 0. A whole number of at least 1 was expected, padding included. "
        "Give a larger budget, for example 4096."
    )
    with pytest.raises(OptionError, match=r"^window is 0\."):
        plan_batches(sizes, token_budget=9, seed=0, epoch=0, window=0)
    with pytest.raises(OptionError) as caught:
        plan_batches(sizes, token_budget=9, seed=-1, epoch=0)
    assert (
        str(caught.value) == "The seed is -1. A whole number of at least 0 was expected. Give such a number."
    )
