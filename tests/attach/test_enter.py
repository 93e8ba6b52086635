"""A pass that begins above known layers gives what the whole pass gives, bit for bit."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import BASES, make_base, make_batch, make_trained_graft

from polygraft.attach.attach import attach
from polygraft.base.base import Base
from polygraft.errors import OptionError
from polygraft.parts.presets import language_graft


@torch.no_grad()
@pytest.mark.parametrize("layer", [-1, 2, 3])
@pytest.mark.parametrize("start", [1, 2])
@pytest.mark.parametrize("name", BASES)
def test_a_pass_from_the_middle_gives_the_same_bits(name: str, start: int, layer: int):
    base, batch = make_base(name), make_batch()
    graft = make_trained_graft(base, "qu", language_graft(), seed=1)
    with attach(base, "qu", grafts=[graft]) as attachment:
        whole = attachment.run(*batch, layer=layer)
        below = attachment.run(*batch, layer=start)
        counted = count_passes(base)
        above = attachment.run_above(below, *batch, start=start, layer=layer)
    assert torch.equal(above, whole)
    assert counted == list(range(start, 3 if layer == -1 else layer))


def count_passes(base: Base) -> list[int]:
    """List the layers that compute something from now on."""
    seen: list[int] = []
    for index, layer in enumerate(base.sites.layers):
        inner = next(iter(layer.children()))
        inner.register_forward_pre_hook(lambda *_, index=index: seen.append(index))
    return seen


@torch.no_grad()
def test_the_base_is_what_it_was_afterwards_and_after_an_error():
    base, batch = make_base("bert"), make_batch()
    with attach(base, None) as attachment:
        below = attachment.run(*batch, layer=1)
        attachment.run_above(below, *batch, start=1)
        with pytest.raises((RuntimeError, IndexError)):
            attachment.run_above(below, batch.input_ids[:, :3], batch.attention_mask[:, :3], start=1)
    assert not any("forward" in layer.__dict__ for layer in base.model.modules())
    assert not any(layer._forward_pre_hooks for layer in base.model.modules())


@torch.no_grad()
@pytest.mark.parametrize(("start", "layer", "end"), [(0, -1, 3), (3, -1, 3), (2, 1, 1), (1, 0, 0)])
def test_a_pass_that_ends_where_it_begins_or_below_is_refused(start: int, layer: int, end: int):
    base, batch = make_base("bert"), make_batch()
    with attach(base, None) as attachment:
        below = attachment.run(*batch, layer=1)
        with pytest.raises(OptionError) as refusal:
            attachment.run_above(below, *batch, start=start, layer=layer)
    assert str(refusal.value) == (
        f"A pass was to go from the output of {start} layers to that of {end}, in a base of 3. Expected it to begin "
        "at 1 or above, and to end above that. Correct `start` or `layer`."
    )
