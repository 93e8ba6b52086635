"""A pass in two halves gives what the whole pass gives, bit for bit, and computes nothing twice."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import BASES, make_base, make_batch, make_trained_graft

from polygraft.attach.attach import attach
from polygraft.attach.depth import Depth, find_depth
from polygraft.attach.frozen import run_below, run_beyond
from polygraft.attach.graft import make_graft
from polygraft.errors import PlanError
from polygraft.parts.bitfit import BitFit
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.invertible import Invertible
from polygraft.parts.lora import Lora
from polygraft.parts.part import Part
from polygraft.parts.prefix import Prefix
from polygraft.parts.presets import language_graft


@torch.no_grad()
@pytest.mark.parametrize("placement", ["ffn", "parallel"])
@pytest.mark.parametrize("skipped", [0, 1])
@pytest.mark.parametrize("name", BASES)
def test_from_inside_a_layer_the_bits_are_the_same(name: str, skipped: int, placement: str):
    base, batch = make_base(name), make_batch()
    below = make_trained_graft(base, "qu", [*language_graft(), Lora(rank=2)], seed=1)
    task = [Bottleneck(placement=placement, skip_layers=tuple(range(skipped)))]
    graft = make_trained_graft(base, "ner", task, seed=2)
    depth = find_depth(graft, sites=base.sites)
    if skipped == 0 and base.sites.family.looks_back:
        assert depth == Depth()
        return
    assert depth == Depth(skipped, in_layer=True)
    at = torch.tensor([0, 3, 4])
    with attach(base, "stack(qu, ner)", grafts=[below, graft]) as attachment:
        whole, picked = attachment.run(*batch), attachment.run(*batch, at=at)
        known = run_below(attachment, *batch, depth=depth)
        computed: list[int] = []
        for index in range(base.sites.num_layers):
            base.sites.sublayer(index, "ffn").input.register_forward_pre_hook(
                lambda *_, index=index: computed.append(index)
            )
        beyond = run_beyond(attachment, known, *batch, depth=depth)
        assert computed == list(range(skipped + 1, 3))
        assert torch.equal(beyond, whole)
        assert torch.equal(run_beyond(attachment, known, *batch, depth=depth, at=at), picked)
        # The values above the depth change what is made of it.
        for value in graft.layers.parameters():
            value.mul_(1.5)
        changed = run_beyond(attachment, known, *batch, depth=depth)
        assert torch.equal(changed, attachment.run(*batch))
        assert not torch.equal(changed, whole)
    assert not any("forward" in layer.__dict__ for layer in base.model.modules())


@pytest.mark.parametrize("skipped", [0, 1])
def test_gradients_from_inside_a_layer_are_the_same_bits(skipped: int):
    base, batch = make_base("bert"), make_batch()
    graft = make_trained_graft(base, "ner", [Bottleneck(skip_layers=tuple(range(skipped)))], seed=2)
    graft.layers.requires_grad_(True)
    depth = Depth(skipped, in_layer=True)

    def differentiate(hidden: torch.Tensor) -> list[torch.Tensor]:
        graft.layers.zero_grad()
        hidden.square().sum().backward()
        return [value.grad.clone() for value in graft.layers.parameters() if value.grad is not None]

    with attach(base, "ner", grafts=[graft]) as attachment:
        whole = differentiate(attachment.run(*batch))
        with torch.no_grad():
            known = run_below(attachment, *batch, depth=depth)
        assert not any(tensor.requires_grad for tensor in known)
        found = differentiate(run_beyond(attachment, known, *batch, depth=depth))
    assert len(whole) == len(found) == len(list(graft.layers.parameters()))
    assert all(torch.equal(one, other) for one, other in zip(whole, found, strict=True))


@torch.no_grad()
def test_positions_that_a_prefix_has_moved_stay_moved():
    base, batch = make_base("bert"), make_batch()
    below = make_trained_graft(base, "qu", [Prefix(length=3)], seed=1)
    graft = make_trained_graft(base, "ner", [Bottleneck(skip_layers=(0,))], seed=2)
    depth = Depth(1, in_layer=True)
    with attach(base, "stack(qu, ner)", grafts=[below, graft]) as attachment:
        known = run_below(attachment, *batch, depth=depth)
        assert torch.equal(run_beyond(attachment, known, *batch, depth=depth), attachment.run(*batch))


@torch.no_grad()
def test_a_plan_of_several_ways_has_no_half():
    base, batch = make_base("bert"), make_batch()
    grafts = [make_trained_graft(base, name, [Bottleneck()], seed=1) for name in ("a", "b")]
    with (
        attach(base, "route(a, b)", grafts=grafts) as attachment,
        pytest.raises(PlanError, match="has 2 ways for a row, and one was expected here"),
    ):
        run_below(attachment, *batch, depth=Depth(0, in_layer=True))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([Bottleneck()], Depth(0, in_layer=True)),
        ([Bottleneck(placement="parallel", skip_layers=(0,))], Depth(1, in_layer=True)),
        ([Bottleneck(placement="attention+ffn", skip_layers=(0,))], Depth(1)),
        ([Bottleneck(skip_layers=(0,)), Lora(rank=2, skip_layers=(0,))], Depth(1)),
        ([Bottleneck(skip_layers=(0,)), Lora(rank=2, skip_layers=(0, 1))], Depth(1, in_layer=True)),
        ([Bottleneck(skip_layers=(0,)), Invertible()], Depth()),
        ([BitFit()], Depth()),
        ([Head(objective="tokens", labels=("O", "B-LOC"))], Depth(3)),
        ([Head(objective="tokens", labels=("O", "B-LOC"), layer=2)], Depth(2)),
    ],
    ids=str,
)
def test_a_graft_is_above_all_that_it_does_not_reach(parts: list[Part], expected: Depth):
    base = make_base("bert")
    assert find_depth(make_graft(base, "new", parts), sites=base.sites) == expected


def test_depths_are_in_order():
    heights = [Depth(), Depth(0, in_layer=True), Depth(1), Depth(1, in_layer=True), Depth(2)]
    assert sorted(heights, reverse=True) == heights[::-1]
    assert [bool(each) for each in heights] == [False, True, True, True, True]
