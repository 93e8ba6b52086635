from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polygraft.evaluate.holm import correct_holm


def test_p_values_are_multiplied_by_how_many_are_left():
    # 4 * 0.01, 3 * 0.015, 2 * 0.03, 1 * 0.5
    assert correct_holm([0.5, 0.01, 0.03, 0.015]) == pytest.approx([0.5, 0.04, 0.06, 0.045])


def test_a_larger_p_value_never_counts_less_than_a_smaller_one():
    # 3 * 0.02 = 0.06 is more than 2 * 0.025 = 0.05.
    assert correct_holm([0.02, 0.025, 0.9]) == pytest.approx([0.06, 0.06, 0.9])


def test_none_is_above_one_and_one_alone_stays():
    assert correct_holm([0.7, 0.6]) == [1.0, 1.0]
    assert correct_holm([0.04]) == [0.04]
    assert correct_holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=9))
def test_it_rejects_what_holms_steps_reject(p_values: list[float]):
    """The procedure as Holm wrote it: go up from the smallest, stop at the first that is too large for its place."""
    rejected: set[int] = set()
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    for rank, place in enumerate(order):
        if (len(p_values) - rank) * p_values[place] >= 0.05:
            break
        rejected.add(place)
    assert {place for place, p in enumerate(correct_holm(p_values)) if p < 0.05} == rejected
