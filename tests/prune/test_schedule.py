from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polygraft.errors import OptionError
from polygraft.prune.schedule import KINDS, cubic_at, list_sparsities


@pytest.mark.parametrize(
    ("kind", "final", "levels"),
    [
        ("one-shot", 0.9, [0.9]),
        ("linear", 0.8, [0.2, 0.4, 0.6, 0.8]),
        ("geometric", 0.9375, [0.5, 0.75, 0.875, 0.9375]),
        ("cubic", 0.64, [0.37, 0.56, 0.63, 0.64]),
    ],
)
def test_levels_are_those_worked_out_by_hand(kind: str, final: float, levels: list[float]):
    assert list_sparsities(kind, final=final, num_levels=len(levels)) == pytest.approx(levels)


def test_geometric_levels_remove_the_same_share_of_what_is_left():
    levels = [0.0, *list_sparsities("geometric", final=0.9, num_levels=5)]
    left = [1 - level for level in levels]
    assert [after / before for before, after in pairwise(left)] == pytest.approx([0.1**0.2] * 5)


@given(st.sampled_from(KINDS), st.floats(0, 0.999), st.integers(1, 40))
def test_levels_rise_to_exactly_the_final_one(kind: str, final: float, num_levels: int):
    levels = list_sparsities(kind, final=final, num_levels=1 if kind == "one-shot" else num_levels)
    assert levels[-1] == final
    assert all(0 <= level < 1 for level in levels)
    assert all(later >= earlier - 1e-12 for earlier, later in pairwise(levels))


@pytest.mark.parametrize(
    ("step", "sparsity"), [(0, 0.1), (20, 0.1), (50, 0.75625), (65, 0.83828125), (80, 0.85), (100, 0.85)]
)
def test_the_cubic_schedule_rests_rises_and_rests(step: int, sparsity: float):
    found = cubic_at(step, 100, final=0.85, start_share=0.2, end_share=0.8, initial=0.1)
    assert found == pytest.approx(sparsity)


def test_unknown_schedules_are_refused():
    with pytest.raises(OptionError) as caught:
        list_sparsities("geometrc", final=0.5, num_levels=2)
    assert str(caught.value) == (
        "The schedule 'geometrc' is not known. One of one-shot, linear, geometric, cubic was expected. Did you mean "
        "'geometric'? Choose one of them."
    )


@pytest.mark.parametrize(
    ("kind", "num_levels", "expected"),
    [("one-shot", 2, "1"), ("linear", 0, "A whole number of at least 1")],
)
def test_numbers_of_levels_out_of_range_are_refused(kind: str, num_levels: int, expected: str):
    with pytest.raises(OptionError) as caught:
        list_sparsities(kind, final=0.5, num_levels=num_levels)
    assert str(caught.value) == (
        f"num_levels is {num_levels}. {expected} was expected for the schedule '{kind}'. Give such a number, or choose "
        "another schedule."
    )


@pytest.mark.parametrize("final", [1.0, -0.1, math.nan])
def test_sparsities_out_of_range_are_refused(final: float):
    sentence = (
        f"final is {final}. A number from 0 up to but not including 1 was expected, the share of weights that is "
        "pruned. Give one, for example 0.5."
    )
    with pytest.raises(OptionError) as caught:
        list_sparsities("linear", final=final, num_levels=2)
    assert str(caught.value) == sentence
    with pytest.raises(OptionError) as caught:
        cubic_at(1, 2, final=final, start_share=0.0, end_share=1.0)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(("step", "total"), [(-1, 10), (11, 10), (0, 0)])
def test_steps_out_of_range_are_refused(step: int, total: int):
    with pytest.raises(OptionError) as caught:
        cubic_at(step, total, final=0.5, start_share=0.0, end_share=1.0)
    assert str(caught.value) == (
        f"step is {step} of {total}. A whole number from 0 to the number of all steps, which is at least 1, was "
        "expected. Count the steps that are done."
    )


@pytest.mark.parametrize("initial", [-0.1, 0.6])
def test_a_beginning_above_the_end_is_refused(initial: float):
    with pytest.raises(OptionError) as caught:
        cubic_at(1, 2, final=0.5, start_share=0.0, end_share=1.0, initial=initial)
    assert str(caught.value) == (
        f"initial is {initial}. A share from 0 to the final sparsity, 0.5, was expected. Give such a share; "
        "0 is common."
    )


@pytest.mark.parametrize(("start", "end"), [(-0.1, 0.5), (0.5, 0.5), (0.7, 0.1), (0.1, 1.1)])
def test_shares_out_of_order_are_refused(start: float, end: float):
    with pytest.raises(OptionError) as caught:
        cubic_at(1, 2, final=0.5, start_share=start, end_share=end)
    assert str(caught.value) == (
        f"start_share is {start} and end_share is {end}. Shares of all steps from 0 to 1 were expected, the first "
        "below the second. Give such shares; 0.1 and 0.7 are common."
    )
