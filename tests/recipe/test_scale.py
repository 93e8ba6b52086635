"""A graft at another strength adds that many times as much, whatever its scales are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from tests.tiny import make_base, make_batch, make_trained_graft

from polygraft.attach.attach import attach
from polygraft.base.base import Base
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.lora import Lora
from polygraft.recipe.scale import scale_graft


@dataclass
class Workshop:
    """As much of a workshop as is needed."""

    base: Base


@pytest.mark.parametrize("scaling", [None, 0.5, "learned"])
@torch.no_grad()
def test_a_scaled_graft_adds_as_many_times_as_much(scaling: Any):
    base = make_base("bert", num_hidden_layers=1)
    part = Bottleneck(reduction=2, placement="parallel", scaling=scaling)
    graft = make_trained_graft(base, "qu", [part])
    before = {name: value.clone() for name, value in graft.tensors().items()}
    scaled = scale_graft(Workshop(base), graft, -2.0)  # pyright: ignore[reportArgumentType]
    seen: list[torch.Tensor] = []
    norm = base.sites.sublayer(0, "ffn").norm
    assert norm is not None
    handle = norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for plan in (None, "qu"):
        with attach(base, plan, grafts=[graft]) as attachment:
            attachment.run(*make_batch())
    with attach(base, "qu", grafts=[scaled]) as attachment:
        attachment.run(*make_batch())
    handle.remove()
    bare, once, twice = seen
    assert ((twice - bare) + 2 * (once - bare)).abs().max() < 1e-5
    assert (once - bare).abs().max() > 0.1
    assert all(torch.equal(before[name], value) for name, value in graft.tensors().items())


@torch.no_grad()
def test_a_scaled_lora_adds_as_many_times_as_much_to_its_maps():
    base = make_base("bert", num_hidden_layers=1)
    graft = make_trained_graft(base, "qu", [Lora(rank=2, roles=("down",), rslora=True)])
    scaled = scale_graft(Workshop(base), graft, 0.5)  # pyright: ignore[reportArgumentType]
    seen: list[torch.Tensor] = []
    norm = base.sites.sublayer(0, "ffn").norm
    assert norm is not None
    handle = norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for plan, own in ((None, graft), ("qu", graft), ("qu", scaled)):
        with attach(base, plan, grafts=[own]) as attachment:
            attachment.run(*make_batch())
    handle.remove()
    bare, once, half = seen
    assert ((half - bare) - 0.5 * (once - bare)).abs().max() < 1e-5
    assert (once - bare).abs().max() > 0.1
