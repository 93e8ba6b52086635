"""Two grafts that change weights, against sets of places."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny import make_base
from tests.weights import WEIGHTS, draw_masks, draw_values
from torch import Tensor

from polygraft.attach.attach import attach
from polygraft.attach.compare import Comparison, compare_grafts
from polygraft.attach.graft import Graft, make_graft
from polygraft.attach.sparse import make_delta, make_mask
from polygraft.base.base import Base
from polygraft.errors import GraftError
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.delta import Delta
from polygraft.parts.mask import Mask
from polygraft.prune.mask import compare_masks

NAME = "encoder.layer.0.output.dense.weight"
OTHER = "encoder.layer.1.output.dense.weight"
Places = set[tuple[str, int]]


def list_places(masks: Mapping[str, Tensor]) -> Places:
    return {
        (name, place) for name, mask in masks.items() for place in mask.flatten().nonzero().flatten().tolist()
    }


def make_two_deltas(base: Base) -> tuple[list[Graft], list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    masks = [draw_masks(base, density, seed=seed) for seed, density in enumerate((0.2, 0.5))]
    values = [draw_values(masks[0], seed=seed) for seed in (3, 4)]
    grafts = [
        make_delta(base, name, masks[number], weights=WEIGHTS, values=values[number])
        for number, name in enumerate("ab")
    ]
    return grafts, masks, values


def test_overlaps_are_those_of_sets_of_places():
    base = make_base()
    (a, b), masks, values = make_two_deltas(base)
    found = compare_grafts(a, b)
    sets = [list_places(each) for each in masks]
    both = sets[0] & sets[1]
    pairs = [[float(each[name].flatten()[place]) for each in values] for name, place in sorted(both)]
    total = found.total
    assert (total.num_a, total.num_b, total.num_both) == (len(sets[0]), len(sets[1]), len(both))
    assert total.jaccard == len(both) / len(sets[0] | sets[1])
    assert total.num_by_chance == len(sets[0]) * len(sets[1]) / total.size
    assert total.share_by_chance == pytest.approx(len(sets[0]) / total.size * len(sets[1]) / total.size)
    assert total.values is not None
    num_opposite = sum(x * y < 0 for x, y in pairs)
    assert total.values.num_opposite == num_opposite
    assert total.values.norm_a == pytest.approx(math.hypot(*(x for x, _ in pairs)))
    assert total.values.norm_b == pytest.approx(math.hypot(*(y for _, y in pairs)))
    assert total.values.norm_of_sum == pytest.approx(math.hypot(*(x + y for x, y in pairs)))
    dot = sum(x * y for x, y in pairs)
    assert total.values.cosine == pytest.approx(dot / total.values.norm_a / total.values.norm_b)
    assert (total.num_a_pruned, total.num_b_pruned, total.num_a_undone, total.num_b_undone) == (0, 0, 0, 0)
    assert found.sentences == (
        f"In a stack 'a' and 'b' add up, in either order: both change {len(both):,} places, {num_opposite:,} of them "
        "in opposite directions.",
    )


def test_each_weight_has_its_own_counts_and_the_most_in_common_comes_first():
    base = make_base()
    (a, b), masks, _ = make_two_deltas(base)
    found = compare_grafts(a, b)
    expected = compare_masks(*masks).by_name
    assert {each.name: (each.num_a, each.num_b, each.num_both) for each in found.weights} == {
        name: (counts.num_a, counts.num_b, counts.num_both) for name, counts in expected.items()
    }
    counts = [each.num_both for each in found.weights]
    assert counts == sorted(counts, reverse=True)


def test_a_delta_of_all_places_is_compared_by_its_values():
    base = make_base()
    (a, _), _, _ = make_two_deltas(base)
    whole = make_graft(base, "whole", [Delta(weights=WEIGHTS)])
    with torch.no_grad():
        next(whole.layers.parameters()).fill_(0.5)
    same, opposite = compare_grafts(a, whole).total, compare_grafts(whole, a).total
    assert same.num_both == same.num_a == opposite.num_b
    assert same.values is not None and opposite.values is not None
    assert same.values.num_opposite == opposite.values.num_opposite
    assert same.values.norm_b == pytest.approx(0.5 * math.sqrt(same.num_a))
    assert same.values.cosine == pytest.approx(opposite.values.cosine)


def test_a_graft_beside_itself_has_all_in_common_and_cannot_be_stacked():
    base = make_base()
    (a, _), _, _ = make_two_deltas(base)
    found = compare_grafts(a, a)
    assert (found.total.jaccard, found.total.num_both) == (1.0, found.total.num_a)
    assert found.total.values is not None and found.total.values.cosine == pytest.approx(1.0)
    assert found.sentences == (
        "A plan names a graft once: it can have one version of 'a' in it, and no stack of two.",
    )


def count_conflicts(base: Base, below: Graft, above: Graft) -> int:
    plan = f"stack({below.name}, {above.name})"
    with attach(base, plan, grafts=[below, above]) as attachment:
        said = attachment.edits.list_conflicts()
    return int(said[0].split(" below it at ")[1].split()[0].replace(",", "")) if said else 0


def draw_graft(base: Base, name: str, kind: str, *, seed: int) -> Graft:
    masks = draw_masks(base, 0.4, seed=seed)
    values = draw_values(masks, seed=seed)
    own = {key: mask & (values[key] > 0) for key, mask in masks.items()}
    if kind == "delta":
        return make_delta(base, name, masks, weights=WEIGHTS, values=values)
    if kind == "delta and mask":
        return make_delta(base, name, masks, weights=WEIGHTS, others=[Mask(weights=WEIGHTS)])
    if kind == "all kept":
        return make_graft(base, name, [Mask(weights=WEIGHTS)])
    has_values, has_own = kind != "pure", kind == "some retrained"
    return make_mask(
        base,
        name,
        masks,
        weights=WEIGHTS,
        values=values if has_values else None,
        valued=own if has_own else None,
    )


KINDS = st.sampled_from(["delta", "pure", "retrained", "some retrained", "all kept", "delta and mask"])


@settings(max_examples=15, deadline=None)
@given(below=KINDS, above=KINDS, seed=st.integers(0, 99))
def test_what_a_mask_undoes_is_what_the_attachment_tells(below: str, above: str, seed: int):
    base = make_base()
    a, b = draw_graft(base, "a", below, seed=seed), draw_graft(base, "b", above, seed=seed + 1)
    total = compare_grafts(a, b).total
    assert total.num_a_undone == count_conflicts(base, a, b)
    assert total.num_b_undone == count_conflicts(base, b, a)


def compare_delta_and_mask() -> Comparison:
    base = make_base()
    changed, kept = torch.zeros(16, 24, dtype=torch.bool), torch.ones(16, 24, dtype=torch.bool)
    changed[0] = True
    kept[0, :3] = False
    qu = make_delta(base, "qu", {NAME: changed}, weights=(NAME,), values={NAME: torch.ones(16, 24)})
    return compare_grafts(qu, make_mask(base, "ner", {NAME: kept}, weights=(NAME, OTHER)))


def test_a_mask_wins_over_a_delta_below_it_alone():
    found = compare_delta_and_mask()
    assert (found.kind_a, found.kind_b, found.total.values) == ("delta", "mask", None)
    assert (found.total.num_a, found.total.num_both, found.total.num_a_pruned) == (24, 21, 3)
    assert (found.total.num_b_pruned, found.total.num_b_undone) == (0, 0)
    assert found.sentences == (
        "In stack(qu, ner) the mask of 'ner' wins over 'qu' at 3 places that 'qu' changes.",
        "In stack(ner, qu) the differences of 'qu' are added to what 'ner' left, also at 3 places that 'ner' sets to "
        "zero.",
    )


def test_two_masks_tell_what_one_keeps_and_the_other_prunes():
    base = make_base()
    first, second = torch.zeros(16, 24, dtype=torch.bool), torch.zeros(16, 24, dtype=torch.bool)
    first[:4], second[3:10] = True, True
    found = compare_grafts(
        make_mask(base, "a", {NAME: first}, weights=(NAME,)),
        make_mask(base, "b", {NAME: second}, weights=(NAME,)),
    )
    assert (found.total.num_both, found.total.num_a_pruned, found.total.num_b_pruned) == (24, 72, 144)
    assert found.sentences == (
        "In stack(a, b) the mask of 'b' wins over 'a' at 72 places that 'a' keeps.",
        "In stack(b, a) the mask of 'a' wins over 'b' at 144 places that 'b' keeps.",
    )


def test_grafts_of_other_weights_have_nothing_in_common():
    base = make_base()
    whole = torch.ones(16, 24, dtype=torch.bool)
    grafts = [make_delta(base, name, {name: whole}, weights=(name,)) for name in (NAME, OTHER)]
    total = compare_grafts(*grafts).total
    assert (total.num_a, total.num_b, total.num_both, total.jaccard) == (384, 384, 0, 0.0)
    mask = make_mask(base, "mask", {}, weights=(OTHER,))
    beside = compare_grafts(grafts[0], mask).total
    assert (beside.num_a_pruned, beside.num_a_undone) == (0, 0)


def test_a_graft_that_changes_no_weights_is_refused():
    base = make_base()
    delta = make_delta(base, "qu", {}, weights=(NAME,))
    with pytest.raises(GraftError) as refused:
        compare_grafts(delta, make_graft(base, "ner", [Bottleneck(reduction=4)]))
    assert str(refused.value) == (
        "The graft 'ner' has no delta and no mask: its parts are bottleneck. Expected a graft that changes weights. "
        "Name another one."
    )


def test_of_a_delta_with_a_mask_above_it_the_mask_counts():
    base = make_base()
    few = torch.zeros(16, 24, dtype=torch.bool)
    few[0] = True
    both = make_delta(base, "both", {NAME: few}, weights=(NAME,), others=[Mask(weights=(NAME,))])
    found = compare_grafts(both, make_mask(base, "b", {NAME: ~few}, weights=(NAME,)))
    assert (found.kind_a, found.total.num_a, found.total.num_both) == ("mask", 384, 360)


def test_a_graft_with_a_delta_above_a_mask_is_refused():
    base = make_base()
    delta = make_delta(base, "qu", {}, weights=(NAME,))
    with pytest.raises(GraftError) as refused:
        compare_grafts(delta, make_graft(base, "ner", [Mask(), Delta()]))
    assert str(refused.value) == (
        "The graft 'ner' has 2 parts that change weights: mask, delta. Expected a delta, a mask, or a delta and a mask "
        "above it. Name another one."
    )


def test_grafts_of_bases_of_other_sizes_are_refused():
    a = make_delta(make_base(), "a", {}, weights=(NAME,))
    wider = make_base(intermediate_size=32)
    b = make_delta(wider, "b", {}, weights=(NAME,))
    with pytest.raises(GraftError) as refused:
        compare_grafts(a, b)
    assert str(refused.value) == (
        f"The weight '{NAME}' has the shape [16, 24] for 'a' and [16, 32] for 'b'. Expected two grafts of one base. "
        "Name two that were made for the same one."
    )
