from __future__ import annotations

import pytest
import torch
from hypothesis import given
from tests.prune.reference import Named, masks_of

from polygraft.errors import GraftError
from polygraft.prune.mask import (
    Counts,
    Overlap,
    compare_masks,
    count_places,
    intersect,
    invert,
    measure_density,
    subtract,
    unite,
)

SHAPES = {"a": (2, 3), "b": (4,), "c": (), "d": (0, 2)}
MASKS = masks_of(SHAPES)
A = {"w": torch.tensor([True, True, False, False]), "only_a": torch.tensor([True])}
B = {"w": torch.tensor([True, False, True, False]), "only_b": torch.tensor([True, False])}


def places(masks: Named) -> set[tuple[str, int]]:
    return {
        (name, place) for name, mask in masks.items() for place in mask.reshape(-1).nonzero()[:, 0].tolist()
    }


@given(MASKS, MASKS)
def test_masks_are_sets_of_places(a: Named, b: Named):
    assert places(unite(a, b)) == places(a) | places(b)
    assert places(intersect(a, b)) == places(a) & places(b)
    assert places(subtract(a, b)) == places(a) - places(b)
    assert count_places(a) == len(places(a))
    for result in (unite(a, b), intersect(a, b), subtract(a, b)):
        assert result.keys() == a.keys() | b.keys()


@given(MASKS)
def test_the_inverse_has_what_is_missing(a: Named):
    assert count_places(intersect(a, invert(a))) == 0
    assert count_places(unite(a, invert(a))) == sum(mask.numel() for mask in a.values())
    assert places(invert(invert(a))) == places(a)


@given(MASKS, MASKS)
def test_an_overlap_counts_places(a: Named, b: Named):
    overlap = compare_masks(a, b)
    both, either = places(a) & places(b), places(a) | places(b)
    assert (overlap.num_a, overlap.num_b, overlap.num_both) == (len(places(a)), len(places(b)), len(both))
    assert overlap.jaccard == (len(both) / len(either) if either else 1.0)


def test_an_overlap_tells_of_every_tensor():
    assert compare_masks(A, B) == Overlap(
        num_a=3,
        num_b=3,
        num_both=1,
        jaccard=0.2,
        by_name={
            "w": Counts(num_a=2, num_b=2, num_both=1),
            "only_a": Counts(num_a=1, num_b=0, num_both=0),
            "only_b": Counts(num_a=0, num_b=1, num_both=0),
        },
    )


def test_density_is_a_share_of_all_places():
    assert measure_density(A) == 0.6
    assert measure_density({}) == 0.0
    assert measure_density({"d": torch.ones(0, dtype=torch.bool)}) == 0.0


def test_a_mask_is_not_changed_by_what_is_made_of_it():
    before = {name: mask.clone() for name, mask in A.items()}
    unite(A, B), intersect(A, B), subtract(A, B), invert(A)
    assert all(torch.equal(A[name], mask) for name, mask in before.items())


@pytest.mark.parametrize("function", [unite, intersect, subtract, compare_masks])
def test_masks_of_other_shapes_are_refused(function):
    with pytest.raises(GraftError) as caught:
        function(A, {"w": torch.tensor([True])})
    assert str(caught.value) == (
        "The masks of 'w' have the shapes (4,) and (1,). One shape was expected. Compare masks that were made for the "
        "same weights."
    )


@pytest.mark.parametrize("function", [invert, count_places, measure_density])
def test_a_mask_of_numbers_is_refused(function):
    with pytest.raises(GraftError) as caught:
        function({"w": torch.tensor([1, 0], dtype=torch.uint8)})
    assert str(caught.value) == (
        "The mask of 'w' holds uint8. A tensor of bool was expected, true at the places that are meant. Compare the "
        "values first, for example `mask != 0`."
    )
