"""Layers that are run again for the gradients give the same numbers, and keep less."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from tests.tiny import BASES, make_base, make_batch, make_trained_graft
from torch import Tensor

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft
from polygraft.attach.recompute import recompute_layers
from polygraft.base.base import Base
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.invertible import Invertible


def make_graft(base: Base, **options: Any) -> Graft:
    parts = [Bottleneck(reduction=2, placement="attention+ffn", **options), Invertible()]
    return make_trained_graft(base, "qu", parts, seed=1)


def differentiate(
    base: Base, graft: Graft, *, is_recomputed: bool, layer: int
) -> tuple[Tensor, list[Tensor]]:
    """Give the output of a pass, and the gradients of the graft's values."""
    graft.layers.zero_grad()
    layers = recompute_layers(base) if is_recomputed else nullcontext()
    with layers, attach(base, "qu", grafts=[graft]) as attachment:
        output = attachment.run(*make_batch(), layer=layer)
        output.square().sum().backward()
    return output.detach(), [value.grad for value in graft.layers.parameters() if value.grad is not None]


@pytest.mark.parametrize("layer", [-1, 2])
@pytest.mark.parametrize("name", BASES)
def test_output_and_gradients_are_the_same_to_the_bit(name: str, layer: int):
    base = make_base(name)
    graft = make_graft(base)
    kept = differentiate(base, graft, is_recomputed=False, layer=layer)
    again = differentiate(base, graft, is_recomputed=True, layer=layer)
    assert torch.equal(again[0], kept[0])
    assert len(again[1]) == len(kept[1]) >= 8
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(again[1], kept[1], strict=True))


def test_a_pass_from_the_middle_has_the_same_gradients():
    base, batch = make_base("deberta-v2"), make_batch()
    graft = make_trained_graft(base, "qu", [Bottleneck(reduction=2, skip_layers=(0,))])
    gradients: list[list[Any]] = []
    for layers in (nullcontext(), recompute_layers(base)):
        graft.layers.zero_grad()
        with layers, attach(base, "qu", grafts=[graft]) as attachment:
            below = attachment.run(*batch, layer=1).detach()
            attachment.run_above(below, *batch, start=1).square().sum().backward()
        gradients.append([value.grad for value in graft.layers.parameters()])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*gradients, strict=True))


def count_kept(base: Base, graft: Graft, *, is_recomputed: bool) -> int:
    """Count the values that a pass keeps for its gradients, each storage once."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    layers = recompute_layers(base) if is_recomputed else nullcontext()
    with layers, attach(base, "qu", grafts=[graft]) as attachment:
        batch = make_batch(lengths=(40,) * 16)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            attachment.run(*batch)
    return sum(kept.values())


def test_a_pass_keeps_only_what_enters_each_layer():
    base = make_base("bert", num_hidden_layers=8)
    graft = make_trained_graft(base, "qu", [Bottleneck(reduction=2)])
    assert count_kept(base, graft, is_recomputed=True) < count_kept(base, graft, is_recomputed=False) / 8


def test_a_layer_that_is_run_again_leaves_nothing_behind():
    base = make_base("bert")
    graft = make_graft(base)
    runs: list[int] = []
    handle = (
        base.sites.layers[1].get_submodule("output.dense").register_forward_hook(lambda *_: runs.append(1))
    )
    differentiate(base, graft, is_recomputed=True, layer=-1)
    assert len(runs) == 2
    handle.remove()
    assert not any("forward" in layer.__dict__ for layer in base.model.modules())
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in base.model.modules())
