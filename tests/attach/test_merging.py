"""The formulas, against values worked by hand and plain Python."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from polygraft.attach.merging import Merging, choose_kept, combine
from polygraft.errors import OptionError

VECTORS = [[3.0, -1.0, 0.5, 0.0], [-2.0, -2.5, 0.1, 4.0], [1.5, 1.0, 0.2, -5.0]]
"""Of each, a density of 0.5 keeps 3 and -1, -2.5 and 4, 1.5 and -5."""


def double(values: Sequence[Any]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def merge(vectors: Sequence[Sequence[float]], merging: Merging, *, start: Tensor | None = None) -> Tensor:
    """Merge vectors as grafts with one tensor are merged."""
    values = double(vectors)
    generator = torch.Generator().manual_seed(merging.seed)
    chosen = [
        choose_kept({"v": row if start is None else row - start}, merging, generator=generator)
        for row in values
    ]
    kept = None
    if any(each is not None for each in chosen):
        kept = torch.stack(
            [torch.ones(len(values[0])).bool() if each is None else each["v"] for each in chosen]
        )
    factors = double(merging.list_factors(len(vectors))) / (1 - merging.drop_chance)
    return combine(values, factors, elects=merging.how == "ties", start=start, kept=kept)


def merge_by_hand(
    vectors: Sequence[Sequence[float]], weights: Sequence[float], *, density: float
) -> list[float]:
    """TIES step by step as section 4 of the paper has it, in plain Python."""
    num_kept = max(1, math.floor(density * len(vectors[0]) + 0.5))
    trimmed: list[list[float]] = []
    for vector in vectors:
        order = sorted(range(len(vector)), key=lambda place: (-abs(vector[place]), place))
        trimmed.append([value if place in order[:num_kept] else 0.0 for place, value in enumerate(vector)])
    merged: list[float] = []
    for place in range(len(vectors[0])):
        column = [weight * vector[place] for weight, vector in zip(weights, trimmed, strict=True)]
        mass = sum(column)
        agreeing = [value for value in column if value * mass > 0]
        merged.append(sum(agreeing) / len(agreeing) if agreeing else 0.0)
    return merged


def test_ties_gives_the_values_worked_by_hand():
    # Signs: 3 + 1.5 is positive, -1 - 2.5 negative, nothing is left, 4 - 5 is negative.
    merged = merge(VECTORS, Merging(how="ties", density=0.5))
    assert merged.tolist() == [2.25, -1.75, 0.0, -5.0]
    assert merge(VECTORS, Merging(how="ties", density=0.5, scale=0.4)).tolist() == pytest.approx(
        [0.9, -0.7, 0.0, -2.0]
    )
    # With twice the weight on the second, 4 * 2 - 5 is positive, and so is 3 + 1.5 still.
    weighted = merge(VECTORS, Merging(how="ties", density=0.5, weights=(1.0, 2.0, 1.0)))
    assert weighted.tolist() == [2.25, -3.0, 0.0, 8.0]


def test_ties_gives_what_another_library_does():
    # `ties` of peft 0.21's merge_utils, with the sign by total mass and equal weights.
    vectors = [[math.sin(graft * place) for place in range(1, 13)] for graft in (1, 2, 3)]
    expected = [
        0.875384,
        0.909297,
        0.0,
        0.989358,
        -0.958924,
        0.0,
        0.913631,
        0.989358,
        0.956376,
        -0.988032,
        -0.99999,
        -0.948679,
    ]
    assert merge(vectors, Merging(how="ties", density=0.5)).tolist() == pytest.approx(expected, abs=1e-6)


def test_ties_with_no_density_keeps_a_fifth():
    vector = [float(value) for value in range(1, 11)]
    assert merge([vector], Merging(how="ties")).tolist() == [0.0] * 8 + [9.0, 10.0]


def test_ties_of_signs_that_cancel_is_zero():
    assert merge([[1.0, 2.0], [-1.0, 3.0]], Merging(how="ties", density=1)).tolist() == [0.0, 2.5]


@pytest.mark.parametrize(
    ("merging", "expected"),
    [
        (Merging(), [2.5 / 3, -2.5 / 3, 0.8 / 3, -1 / 3]),
        (Merging(weights=(0.5, 0.25, 0.25)), [1.375, -0.875, 0.325, -0.25]),
        (Merging(how="add"), [2.5, -2.5, 0.8, -1.0]),
        (Merging(how="add", weights=(1.0, 0.5, -2.0), scale=0.5), [-0.5, -2.125, 0.075, 6.0]),
        (Merging(how="subtract"), [3.5, 0.5, 0.2, 1.0]),
        (Merging(how="subtract", weights=(1.0, 0.5, 0.0)), [4.0, 0.25, 0.45, -2.0]),
    ],
)
def test_sums_are_the_ones_worked_by_hand(merging: Merging, expected: list[float]):
    assert merge(VECTORS, merging).tolist() == pytest.approx(expected, abs=1e-12)


def test_differences_are_counted_from_the_start():
    start = double([1.0, 1.0])
    vectors = [[1.5, 0.0], [1.25, 3.0]]
    assert merge(vectors, Merging(how="add"), start=start).tolist() == [1.75, 2.0]
    assert merge(vectors, Merging(how="subtract"), start=start).tolist() == [1.25, -2.0]
    assert merge(vectors, Merging(how="ties", density=0.5), start=start).tolist() == [1.0, 3.0]


numbers = st.floats(-4, 4, width=32)
columns = st.integers(1, 4).flatmap(
    lambda num: st.lists(st.lists(numbers, min_size=num, max_size=num), min_size=1, max_size=12)
)


@given(columns=columns, density=st.sampled_from([0.1, 0.25, 0.5, 0.9, 1.0]), data=st.data())
def test_ties_is_what_plain_python_computes(columns: list[list[float]], density: float, data: st.DataObject):
    vectors = [list(vector) for vector in zip(*columns, strict=True)]
    weights = data.draw(
        st.lists(st.sampled_from([0.5, 1.0, 2.0, -1.0]), min_size=len(vectors), max_size=len(vectors))
    )
    merged = merge(vectors, Merging(how="ties", density=density, weights=tuple(weights)))
    assert merged.tolist() == pytest.approx(merge_by_hand(vectors, weights, density=density), abs=1e-12)


@given(vector=st.lists(numbers, min_size=1, max_size=12), other=numbers)
def test_ties_of_one_graft_at_density_1_and_a_weight_of_1_beside_0_change_no_bit(
    vector: list[float], other: float
):
    expected = double(vector).numpy().tobytes()
    assert merge([vector], Merging(how="ties", density=1)).numpy().tobytes() == expected
    both = [vector, [other] * len(vector)]
    assert merge(both, Merging(weights=(1.0, 0.0))).numpy().tobytes() == expected


def test_dare_keeps_each_value_rescaled_or_none_of_it():
    vector = torch.linspace(1, 2, 1000).tolist()
    merged = merge([vector], Merging(how="dare", drop=0.75))
    is_kept = merged != 0
    assert torch.equal(merged[is_kept], double(vector)[is_kept] * 4)
    assert 200 < int(is_kept.sum()) < 300
    assert torch.equal(merge([vector], Merging(how="dare", drop=0.75)), merged)
    assert not torch.equal(merge([vector], Merging(how="dare", drop=0.75, seed=1)), merged)


def test_dare_drops_other_places_of_each_graft():
    ones = [1.0] * 1000
    merged = merge([ones, ones], Merging(how="dare"))
    assert {float(value) for value in merged} == {0.0, 1.0, 2.0}


def test_the_mean_of_dare_over_many_seeds_is_the_interpolation():
    merged = torch.stack([merge(VECTORS, Merging(how="dare", seed=seed)) for seed in range(4000)])
    expected = merge(VECTORS, Merging())
    # A dropped value v of weight 1/3 has the deviation |v| / 3; five standard errors of the sum.
    error = double(VECTORS).square().sum(0).sqrt() / 3 / 4000**0.5
    assert ((merged.mean(0) - expected).abs() <= 5 * error + 1e-12).all()


def test_values_that_were_dropped_are_not_kept_by_trimming():
    vector = [float(value) for value in range(1, 101)]
    merged = merge([vector], Merging(how="ties", density=0.3, drop=0.5))
    dropped = merge([vector], Merging(how="add", drop=0.5))
    left = sorted(dropped[dropped != 0].tolist())
    assert sorted(merged[merged != 0].tolist()) == left[-30:]
    few = merge([vector], Merging(how="ties", density=0.9, drop=0.5))
    assert torch.equal(few, dropped)


def test_trimming_counts_the_values_of_all_tensors_together():
    differences = {"small": torch.tensor([0.1, -0.2]), "large": torch.tensor([3.0, -4.0])}
    kept = choose_kept(differences, Merging(how="ties", density=0.5), generator=torch.Generator())
    assert kept is not None
    assert {name: mask.tolist() for name, mask in kept.items()} == {
        "small": [False, False],
        "large": [True, True],
    }


REFUSED: Mapping[str, tuple[dict[str, Any], str]] = {
    "unknown": (
        {"how": "tie"},
        "Grafts cannot be merged by 'tie'. Expected one of interpolate, add, subtract, ties, dare. Did you mean "
        "'ties'? Choose one.",
    ),
    "NaN": (
        {"weights": (0.5, math.nan)},
        "A weight or the scale of a merge is nan. Expected finite numbers. Correct it.",
    ),
    "infinite": (
        {"scale": -math.inf},
        "A weight or the scale of a merge is -inf. Expected finite numbers. Correct it.",
    ),
    "density without ties": (
        {"how": "add", "density": 0.5},
        "A density of 0.5 was given for 'add', which keeps all values. Expected it for 'ties' only. Leave it out, or "
        "choose 'ties'.",
    ),
    "density 0": (
        {"how": "ties", "density": 0.0},
        "A merge has the density 0. Expected a share above 0 and at most 1 of its values that each graft keeps. Give "
        "one, for example 0.2.",
    ),
    "density above 1": (
        {"how": "ties", "density": 1.5},
        "A merge has the density 1.5. Expected a share above 0 and at most 1 of its values that each graft keeps. Give "
        "one, for example 0.2.",
    ),
    "density NaN": (
        {"how": "ties", "density": math.nan},
        "A merge has the density nan. Expected a share above 0 and at most 1 of its values that each graft keeps. Give "
        "one, for example 0.2.",
    ),
    "drop 1": (
        {"how": "dare", "drop": 1.0},
        "A merge drops values with the chance 1. Expected a number from 0 up to but not including 1. Give one, for "
        "example 0.5.",
    ),
    "seed": (
        {"seed": -1},
        "A merge has the seed -1. Expected a whole number from 0 to 2**63 - 1. Give one, for example 0.",
    ),
    "sum": (
        {"weights": (0.3, 0.3)},
        "The weights 0.3, 0.3 of 'interpolate' add up to 0.6. Expected 1, so that the result lies between the grafts. "
        "Divide each by their sum, or choose 'add'.",
    ),
}


@pytest.mark.parametrize(("settings", "sentence"), REFUSED.values(), ids=REFUSED)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], sentence: str):
    with pytest.raises(OptionError) as caught:
        Merging(**settings)
    assert str(caught.value) == sentence


def test_another_number_of_weights_than_grafts_is_refused():
    with pytest.raises(OptionError) as caught:
        Merging(how="add", weights=(1.0, 2.0)).list_factors(3)
    assert str(caught.value) == (
        "A merge has 2 weights (1, 2) for 3 grafts. Expected one for each graft, in the same order. Give as many, or "
        "leave them out for equal ones."
    )
