"""Grafts that change the base's weights, against a reference that copies the whole base."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny import BASES, make_base, make_batch, make_trained_graft
from tests.weights import WEIGHTS, draw_masks, draw_values, run
from torch import Tensor

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft, make_graft
from polygraft.attach.sparse import find_edit, make_delta, make_mask, read_places
from polygraft.base.base import Base
from polygraft.errors import GraftError, OptionError
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.delta import Delta, DeltaLayers
from polygraft.parts.mask import Mask, MaskLayers
from polygraft.parts.scores import Scores, ScoresLayers


def change_copy(base: Base, steps: Sequence[tuple[str, dict[str, Tensor], dict[str, Tensor] | None]]) -> Base:
    """The slow way: a second base whose weights are changed for good."""
    changed = copy.deepcopy(base)
    with torch.no_grad():
        for kind, masks, values in steps:
            for name, weight in changed.model.named_parameters():
                if name not in masks:
                    continue
                if kind == "delta" and values is not None:
                    weight.add_(torch.where(masks[name], values[name], torch.zeros(())))
                elif kind == "mask":
                    own = weight if values is None else values[name]
                    weight.copy_(torch.where(masks[name], own, torch.zeros(())))
    return changed


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["delta", "mask", "pure"]),
        st.sampled_from([0.0, 1e-2, 0.3, 0.9, 1.0]),
        st.integers(0, 99),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=40, deadline=None)
@given(family=st.sampled_from(["bert", "deberta-v3", "modernbert"]), steps=STEPS)
def test_any_stack_of_deltas_and_masks_is_what_changing_a_copy_gives(
    family: str, steps: list[tuple[str, float, int]]
):
    base = make_base(family)
    before = base.compute_fingerprint()
    grafts: list[Graft] = []
    slow: list[tuple[str, dict[str, Tensor], dict[str, Tensor] | None]] = []
    for index, (kind, density, seed) in enumerate(steps):
        masks = draw_masks(base, density, seed=seed)
        values = None if kind == "pure" else draw_values(masks, seed=seed + 1)
        make = make_delta if kind == "delta" else make_mask
        grafts.append(make(base, f"g{index}", masks, weights=WEIGHTS, values=values))
        slow.append(("delta" if kind == "delta" else "mask", masks, values))
    plan = f"stack({', '.join(graft.name for graft in grafts)})"
    expected = run(change_copy(base, slow))
    assert torch.allclose(run(base, plan, grafts), expected, atol=1e-5, rtol=1e-5)
    assert base.compute_fingerprint() == before


@settings(max_examples=20, deadline=None)
@given(order=st.lists(st.sampled_from(["a", "b", "stack(a, b)", "stack(b, a)"]), min_size=1, max_size=8))
def test_swapping_in_any_order_leaves_the_base_bit_for_bit(order: list[str]):
    base = make_base()
    before = {name: weight.clone() for name, weight in base.model.named_parameters()}
    masks = [draw_masks(base, density, seed=seed) for seed, density in enumerate((0.3, 0.5))]
    grafts = [
        make_delta(base, "a", masks[0], weights=WEIGHTS, values=draw_values(masks[0], seed=5)),
        make_mask(base, "b", masks[1], weights=WEIGHTS, values=draw_values(masks[1], seed=6)),
    ]
    for plan in order:
        run(base, plan, grafts)
    assert all(torch.equal(weight, before[name]) for name, weight in base.model.named_parameters())


@pytest.mark.parametrize("kind", ["dense delta", "delta", "mask", "all kept"])
def test_the_gradient_is_that_of_the_dense_weight_at_the_places(kind: str):
    base, batch = make_base(), make_batch()
    masks = draw_masks(base, 1.0 if kind == "all kept" else 0.2, seed=3)
    values = draw_values(masks, seed=4)
    if kind == "dense delta":
        graft = make_graft(base, "g", [Delta(weights=WEIGHTS)])
    elif kind == "delta":
        graft = make_delta(base, "g", masks, weights=WEIGHTS, values=values)
    else:
        graft = make_mask(base, "g", masks, weights=WEIGHTS, values=values)
    with attach(base, "g", grafts=[graft]) as attachment:
        attachment.run(*batch).square().sum().backward()
        assert not attachment.edits.waiting
    slow = (
        base
        if kind == "dense delta"
        else change_copy(base, [(kind if kind == "delta" else "mask", masks, values)])
    )
    slow.model.requires_grad_(True)
    with attach(slow, None) as attachment:
        attachment.run(*batch).square().sum().backward()
    layers = find_edit(graft, MaskLayers if "delta" not in kind else DeltaLayers)
    gradients = dict(slow.model.named_parameters())
    expected = []
    for info in layers.infos:
        grad = gradients[info.name].grad
        assert grad is not None
        expected.append(
            grad.flatten() if kind == "dense delta" else grad.flatten()[masks[info.name].flatten()]
        )
    assert layers.values is not None and layers.values.grad is not None
    assert torch.allclose(layers.values.grad, torch.cat(expected), atol=1e-4, rtol=1e-4)


def test_the_gradient_of_a_delta_below_a_mask_stops_where_the_mask_does():
    base, batch = make_base(), make_batch()
    masks = draw_masks(base, 0.4, seed=1)
    below = make_graft(base, "below", [Delta(weights=WEIGHTS)])
    above = make_mask(base, "above", masks, weights=WEIGHTS)
    with attach(base, "stack(below, above)", grafts=[below, above]) as attachment:
        attachment.run(*batch).square().sum().backward()
    layers = find_edit(below, DeltaLayers)
    grad = layers.values.grad
    assert grad is not None
    kept = torch.cat([masks[info.name].flatten() for info in layers.infos])
    assert bool((grad[~kept] == 0).all()) and int((grad[kept] != 0).sum()) > 0.5 * int(kept.sum())


def test_scores_get_the_gradient_times_the_weight():
    base, batch = make_base(), make_batch()
    graft = make_graft(base, "g", [Delta(), Scores()])
    scores = find_edit(graft, ScoresLayers)
    with torch.no_grad():
        scores.values[::3] = 0.0
        find_edit(graft, DeltaLayers).values.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    with attach(base, "g", grafts=[graft]) as attachment:
        attachment.run(*batch).square().sum().backward()
    deltas = find_edit(graft, DeltaLayers).values.detach()
    kept = read_places(scores)
    start = 0
    weights = dict(base.model.named_parameters())
    slow = copy.deepcopy(base)
    with torch.no_grad():
        for name, weight in slow.model.named_parameters():
            if name in kept:
                own = deltas[start : start + weight.numel()].view(weight.shape)
                start += weight.numel()
                weight.copy_((weight + own) * kept[name])
    slow.model.requires_grad_(True)
    with attach(slow, None) as attachment:
        attachment.run(*batch).square().sum().backward()
    start = 0
    for name, weight in slow.model.named_parameters():
        if name in kept:
            grad, own = weight.grad, deltas[start : start + weight.numel()].view(weight.shape)
            assert grad is not None
            expected = (grad * (weights[name] + own)).flatten()
            found = scores.values.grad
            assert found is not None
            part = slice(start, start + weight.numel())
            assert torch.allclose(found[part], expected, atol=1e-4, rtol=1e-4)
            masked = find_edit(graft, DeltaLayers).values.grad
            assert masked is not None
            assert torch.allclose(masked[part], (grad * kept[name]).flatten(), atol=1e-4, rtol=1e-4)
            start += weight.numel()


def test_a_delta_and_bottlenecks_stack_in_both_orders():
    base = make_base()
    masks = draw_masks(base, 0.2, seed=1)
    values = draw_values(masks, seed=2)
    delta = make_delta(base, "delta", masks, weights=WEIGHTS, values=values)
    bottleneck = make_trained_graft(base, "small", [Bottleneck(reduction=4)])
    slow = change_copy(base, [("delta", masks, values)])
    expected = run(slow, "small", [make_trained_graft(slow, "small", [Bottleneck(reduction=4)])])
    for plan in ("stack(delta, small)", "stack(small, delta)"):
        assert torch.allclose(run(base, plan, [delta, bottleneck]), expected, atol=1e-5)


def test_a_mask_tells_what_it_wins_over():
    base = make_base()
    name = "encoder.layer.0.output.dense.weight"
    shape = dict(base.model.named_parameters())[name].shape
    changed, kept = torch.zeros(shape, dtype=torch.bool), torch.ones(shape, dtype=torch.bool)
    changed[0] = True
    kept[0, :3] = False
    qu = make_delta(base, "qu", {name: changed}, values={name: torch.ones(shape)})
    pure = make_mask(base, "ner", {name: kept}, weights=(name,))
    with attach(base, "stack(qu, ner)", grafts=[qu, pure]) as attachment:
        assert attachment.edits.list_conflicts() == [
            "The mask of 'ner' wins over the graft 'qu' below it at 3 places of 1 weights, where both change the same "
            "one."
        ]
    with attach(base, "stack(ner, qu)", grafts=[qu, pure]) as attachment:
        assert attachment.edits.list_conflicts() == []


def test_a_mask_may_leave_some_survivors_to_what_is_below():
    base = make_base()
    first, second = draw_masks(base, 0.3, seed=1), draw_masks(base, 0.3, seed=2)
    own = {name: second[name] & ~first[name] for name in first}
    values = [draw_values(first, seed=3), draw_values(first, seed=4)]
    both = {name: first[name] | own[name] for name in first}
    grafts = [
        make_mask(base, "t1", first, weights=WEIGHTS, values=values[0]),
        make_mask(base, "t2", both, weights=WEIGHTS, values=values[1], valued=own),
    ]
    slow = copy.deepcopy(base)
    with torch.no_grad():
        for name, weight in slow.model.named_parameters():
            if name in first:
                weight.copy_(first[name] * values[0][name] + own[name] * values[1][name])
    assert torch.allclose(run(base, "stack(t1, t2)", grafts), run(slow), atol=1e-5)


@pytest.mark.parametrize("family", list(BASES))
def test_default_weights_are_the_linear_layers(family: str):
    base = make_base(family)
    layers = find_edit(make_graft(base, "g", [Delta()]), DeltaLayers)
    expected = [
        f"{name}.weight" for name, layer in base.model.named_modules() if isinstance(layer, torch.nn.Linear)
    ]
    assert sorted(layers.names) == sorted(expected)


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(OptionError) as refused:
        make_graft(make_base(), "g", [Mask(weights=("liner",))])
    assert str(refused.value) == (
        "The part 'mask' asks for the weights 'liner', and none of the base's 53 weights is that. Expected linear, "
        "bias, norm, embedding, or a pattern of names such as '*.bias'. Did you mean 'linear'? Correct it."
    )


def test_a_mask_of_another_shape_is_refused():
    name = "encoder.layer.0.output.dense.weight"
    with pytest.raises(GraftError) as refused:
        make_delta(make_base(), "g", {name: torch.ones(2, 2, dtype=torch.bool)})
    assert str(refused.value) == (
        "The graft 'g' was to have a mask of torch.bool [2, 2] for 'encoder.layer.0.output.dense.weight'. Expected "
        "bool [16, 24], as the weight has. Give another mask."
    )


def test_half_precision_bases_round_once():
    base = make_base()
    base.model.to(torch.bfloat16)
    masks = draw_masks(base, 0.5, seed=1)
    values = [draw_values(masks, seed=2), draw_values(masks, seed=3)]
    grafts = [
        make_delta(base, f"g{index}", masks, weights=WEIGHTS, values=each)
        for index, each in enumerate(values)
    ]
    name = "encoder.layer.1.output.dense.weight"
    weight = dict(base.model.named_parameters())[name]
    own = torch.where(masks[name], values[0][name] + values[1][name], torch.zeros(()))
    expected = (weight.float() + own).bfloat16()
    with attach(base, "stack(g0, g1)", grafts=grafts):
        assert torch.equal(weight, expected)


def test_places_that_a_delta_and_its_mask_both_hold_are_undone_once():
    base = make_base()
    name = "encoder.layer.0.output.dense.weight"
    few = torch.zeros(16, 24, dtype=torch.bool)
    few[0] = True
    low = make_delta(base, "low", {name: few}, weights=(name,), others=[Mask(weights=(name,))])
    top = make_mask(base, "top", {name: ~few}, weights=(name,))
    with attach(base, "stack(low, top)", grafts=[low, top]) as attachment:
        assert attachment.edits.list_conflicts() == [
            "The mask of 'top' wins over the graft 'low' below it at 24 places of 1 weights, where both change the "
            "same one."
        ]
