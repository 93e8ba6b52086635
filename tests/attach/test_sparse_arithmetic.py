"""Deltas and masks that become one, against plain tensors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.attach.summed import (
    assert_equal,
    make_deltas,
    make_masks,
    make_two,
    read_dense,
    refuse,
)
from tests.tiny import make_base
from tests.weights import WEIGHTS, draw_masks, draw_values, run

from polygraft.attach.arithmetic import (
    add_grafts,
    average_grafts,
    merge_grafts,
    scale_graft,
)
from polygraft.attach.graft import Graft, make_graft
from polygraft.attach.merging import How, Merging
from polygraft.attach.sparse import (
    find_edit,
    make_mask,
    read_edited,
    read_places,
)
from polygraft.base.base import Base
from polygraft.errors import GraftError
from polygraft.parts.delta import Delta, DeltaLayers
from polygraft.parts.mask import Mask, MaskLayers
from polygraft.parts.scores import Scores


@pytest.mark.parametrize("make", [make_deltas, make_masks])
def test_weights_1_and_0_give_the_first_sparse_one_back_bit_for_bit(make: Callable[[Base], list[Graft]]):
    base = make_base()
    a, b = make(base)
    same = average_grafts(base, "same", [a, b], [1, 0])
    assert same.parts == a.parts
    assert_equal(same.tensors(), a.tensors())


def test_ties_of_one_sparse_delta_at_density_1_is_the_delta_bit_for_bit():
    base = make_base()
    (a,) = make_deltas(base, 1)
    merged = merge_grafts(base, "same", [a], Merging(how="ties", density=1.0))
    assert_equal(merged.tensors(), a.tensors())


@pytest.mark.parametrize("how", ["interpolate", "add", "subtract"])
def test_deltas_are_added_up_at_the_places_of_all_of_them(how: How):
    base = make_base()
    grafts = make_deltas(base, 3)
    weights = (0.5, 0.2, 0.3)
    merged = merge_grafts(base, "merged", grafts, Merging(how=how, weights=weights))
    signs = (1, -1, -1) if how == "subtract" else (1, 1, 1)
    dense = [read_dense(graft) for graft in grafts]
    places = [read_places(find_edit(graft, DeltaLayers)) for graft in grafts]
    found, at = read_dense(merged), read_places(find_edit(merged, DeltaLayers))
    for name, values in found.items():
        expected = sum(
            sign * weight * each[name].double()
            for sign, weight, each in zip(signs, weights, dense, strict=True)
        )
        assert (values - expected).abs().max() < 1e-6
        assert torch.equal(at[name], places[0][name] | places[1][name] | places[2][name])


def test_ties_of_deltas_is_what_plain_tensors_compute():
    base = make_base()
    grafts = make_deltas(base, 3)
    merged = merge_grafts(base, "merged", grafts, Merging(how="ties", density=0.4, scale=0.7))
    flat = torch.stack(
        [torch.cat([each.flatten() for each in read_dense(graft).values()]) for graft in grafts]
    )
    for row, graft in zip(flat, grafts, strict=True):
        num_kept = int(0.4 * graft.num_parameters + 0.5)
        threshold = row.abs().sort(descending=True).values[num_kept - 1]
        row[row.abs() < threshold] = 0
    elected = flat.sum(0).sign()
    agreeing = torch.where(flat.sign() == elected, flat, 0)
    expected = 0.7 * agreeing.sum(0) / (agreeing != 0).sum(0).clamp(min=1)
    found = torch.cat([each.flatten() for each in read_dense(merged).values()])
    assert (found - expected).abs().max() < 1e-6
    # What every graft has trimmed is not stored.
    assert merged.num_parameters == int((flat != 0).any(0).sum()) < grafts[2].num_parameters


def test_a_trimmed_delta_of_all_places_has_only_those_that_are_left():
    base = make_base()
    a, _ = make_two(base, "whole delta")
    merged = merge_grafts(base, "merged", [a], Merging(how="ties", density=0.25))
    values = read_dense(a)
    largest = torch.cat([each.flatten() for each in values.values()]).abs().sort(descending=True).values
    assert merged.num_parameters == int(0.25 * a.num_parameters + 0.5)
    for name, found in read_dense(merged).items():
        is_kept = values[name].abs() >= largest[merged.num_parameters - 1]
        assert torch.equal(found, torch.where(is_kept, values[name], 0))


def test_dare_of_deltas_drops_places_and_its_mean_is_the_interpolation():
    base = make_base()
    grafts = make_deltas(base)
    expected = read_dense(average_grafts(base, "mean", grafts))
    name = "encoder.layer.0.output.dense.weight"
    total, counts = torch.zeros(expected[name].shape), set[int]()
    for seed in range(300):
        dropped = merge_grafts(base, "dropped", grafts, Merging(how="dare", drop=0.5, seed=seed))
        counts.add(dropped.num_parameters)
        total += read_dense(dropped)[name] / 300
    # A value v of weight 1/2 deviates by |v| / 2, and the mean of 300 by |v| / 35: 0.3 / 35 and less, on average.
    assert (total - expected[name]).abs().mean() < 0.01 < expected[name].abs().mean()
    assert max(counts) < average_grafts(base, "mean", grafts).num_parameters


def test_a_graft_that_counts_for_nothing_gives_no_places():
    base = make_base()
    a, b = make_deltas(base)
    whole = make_graft(base, "whole", [Delta(weights=WEIGHTS)])
    assert average_grafts(base, "m", [a, b, whole], [0.5, 0.5, 0]).num_parameters < whole.num_parameters
    mixed = average_grafts(base, "m", [a, whole], [0.5, 0.5])
    assert (mixed.parts, mixed.num_parameters) == (whole.parts, whole.num_parameters)
    for name, values in read_dense(mixed).items():
        assert torch.equal(values, read_dense(a)[name] / 2)


def test_deltas_in_float16_are_rounded_once():
    base = make_base()
    a, b = make_deltas(base, dtype="float16")
    merged = average_grafts(base, "mean", [a, b], [0.3, 0.7])
    assert find_edit(merged, DeltaLayers).values.dtype == torch.float16
    for name, values in read_dense(merged).items():
        expected = 0.3 * read_dense(a)[name].double() + 0.7 * read_dense(b)[name].double()
        assert torch.equal(values, expected.half().float())


def test_masks_over_the_same_weights_are_added_up_from_what_the_base_has():
    base = make_base()
    grafts = make_masks(base)
    edited = [read_edited(base, find_edit(graft, MaskLayers)) for graft in grafts]
    kept = read_places(find_edit(grafts[0], MaskLayers))
    mean, total = average_grafts(base, "mean", grafts, [0.25, 0.75]), add_grafts(base, "sum", grafts)
    found = [read_edited(base, find_edit(graft, MaskLayers)) for graft in (mean, total)]
    weights = dict(base.model.named_parameters())
    for name, mask in kept.items():
        a, b = (each[name] for each in edited)
        assert (found[0][name] - (0.25 * a + 0.75 * b)).abs().max() < 1e-6
        assert (found[1][name] - torch.where(mask, a + b - weights[name], 0)).abs().max() < 1e-6
    assert torch.equal(mean.tensors()["mask.kept.code"], grafts[0].tensors()["mask.kept.code"])
    # Where every difference is trimmed, the base's own weight is left.
    trimmed = merge_grafts(base, "trimmed", grafts, Merging(how="ties", density=0.1))
    same = [
        torch.equal(read_edited(base, find_edit(trimmed, MaskLayers))[name][mask], weights[name][mask])
        for name, mask in kept.items()
    ]
    assert not all(same)
    differs = sum(
        int((read_edited(base, find_edit(trimmed, MaskLayers))[name][mask] != weights[name][mask]).sum())
        for name, mask in kept.items()
    )
    count = sum(int(mask.sum()) for mask in kept.values())
    assert 0.1 * count <= differs <= 0.2 * count + 1


@torch.no_grad()
def test_the_sum_of_deltas_is_what_a_stack_of_them_computes():
    base = make_base()
    a, b = make_deltas(base)
    stacked = run(base, "stack(d0, d1)", [a, b])
    assert (run(base, "sum", [add_grafts(base, "sum", [a, b])]) - stacked).abs().max() < 1e-5


def test_masks_without_values_are_refused():
    base = make_base()
    assert refuse(base, [make_graft(base, name, [Mask()]) for name in "ab"]) == (
        "The mask of 'a' has values of its own for none of the weights that it keeps. Expected them for all: which "
        "weights survive has no sum. Stack such grafts in a plan, or name others."
    )
    kept = draw_masks(base, 0.5, seed=0)
    some = make_mask(base, "some", kept, weights=WEIGHTS, values=draw_values(kept, seed=0), valued=kept)
    assert refuse(base, [some, some]) == (
        "The mask of 'some' has values of its own for some of the weights that it keeps. Expected them for all: which "
        "weights survive has no sum. Stack such grafts in a plan, or name others."
    )


def test_masks_that_keep_other_weights_are_refused():
    base = make_base()
    (a,) = make_masks(base, 1)
    kept = draw_masks(base, 0.4, seed=6)
    b = make_mask(base, "b", kept, weights=WEIGHTS, values=draw_values(kept, seed=1))
    assert refuse(base, [a, b]) == (
        "The masks of 'm0' and 'b' keep other weights. Expected the same ones, since a weight that one of them prunes "
        "has no value to add. `polygraft grafts compare` counts the common ones; name grafts over one mask."
    )


def test_scores_are_refused():
    base = make_base()
    assert refuse(base, [make_graft(base, name, [Scores()]) for name in "ab"]) == (
        "The graft 'a' has scores, which say what a mask that is being learned will keep, and have no sum. Expected "
        "grafts with values. Name others."
    )


def test_values_that_a_format_cannot_hold_are_refused():
    base = make_base()
    a, _ = make_deltas(base, dtype="float16")
    with pytest.raises(GraftError) as caught:
        scale_graft(base, "huge", a, 1e9)
    assert str(caught.value) == (
        "The graft 'huge' would have values in 'delta.values' that torch.float16 cannot hold. Expected finite numbers. "
        "Give a smaller scale or smaller weights."
    )
