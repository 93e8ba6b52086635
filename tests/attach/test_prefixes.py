"""Prefixes in the attention of every family that can have them, alone and in batches of several ways."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from tests.tiny import BASES, TinyBatch, make_base, make_batch, make_trained_graft
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from polygraft.attach.attach import attach
from polygraft.attach.compile import CompiledLayers
from polygraft.attach.graft import Graft
from polygraft.attach.recompute import recompute_layers
from polygraft.base.attention import NAME, use_short_attention
from polygraft.base.base import Base
from polygraft.errors import GraftError, PlanError
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.delta import Delta
from polygraft.parts.prefix import Prefix
from polygraft.parts.prompt import Prompt

FAMILIES = [name for name in BASES if not name.startswith("deberta")]
SINGLES = {"modernbert", "eurobert", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma3"}
PADDED, FULL = (9, 5, 2, 7, 4), (6, 6, 6, 6, 6)


def make_computing(family: str, attention: str) -> Base:
    """A base whose attention is computed in one of the two ways; `causal` is a BERT that looks back only."""
    if family == "causal":
        base = make_base("bert", is_decoder=True, with_head=False)
        assert base.sites.layers[0].get_submodule("attention.self").is_causal
    else:
        base = make_base(family)
    use_short_attention(base.model)
    base.model.set_attn_implementation(attention)
    # Doubles, so that what is left of a difference is no rounding. These normalise in singles all the same, and
    # attention over short rows is in singles.
    if family not in SINGLES and attention != NAME:
        base.model.double()
    return base


def make_grafts(base: Base) -> list[Graft]:
    """Prefixes of several lengths, one in some layers only, and two other parts."""
    parts = {
        "long": [Prefix(length=5, reparameterization=4)],
        "short": [Prefix(length=2, reparameterization=None), Bottleneck(reduction=4)],
        "upper": [Prefix(length=3, reparameterization=None, skip_layers=(0, -1))],
        "moving": [Prefix(length=4, reparameterization=None, moves_positions=True)],
        "plain": [Bottleneck(reduction=2)],
        "prompt": [Prompt(length=3)],
    }
    return [make_trained_graft(base, name, own, seed=seed) for seed, (name, own) in enumerate(parts.items())]


def run_alone(base: Base, plan: str | None, grafts: list[Graft], batch: TinyBatch, row: int) -> Tensor:
    """One row by itself, without its padding: [T, D]."""
    length = int(batch.attention_mask[row].sum())
    with attach(base, plan, grafts=grafts) as attachment:
        return attachment.run(
            batch.input_ids[row : row + 1, :length], batch.attention_mask[row : row + 1, :length]
        )[0]


@pytest.mark.parametrize("lengths", [PADDED, FULL])
@pytest.mark.parametrize("attention", ["sdpa", "eager", NAME])
@pytest.mark.parametrize("family", [*FAMILIES, "causal"])
@torch.no_grad()
def test_a_row_of_a_routed_batch_is_the_row_alone(family: str, attention: str, lengths: tuple[int, ...]):
    base = make_computing(family, attention)
    grafts, batch = make_grafts(base), make_batch(lengths=lengths)
    plans = [
        "stack(long, short)",
        "upper",
        None,
        "plain",
        "stack(moving, short)",
        "prompt",
        "stack(moving, prompt)",
    ]
    rows = [4, 0, 2, 1, 3]
    with attach(base, f"route({', '.join(plan or 'none' for plan in plans)})", grafts=grafts) as attachment:
        routed = attachment.run(*batch, rows=rows)
        bare_rows = [5, 6, 2, 6, 0]
        prompted = attachment.run(*batch, rows=bare_rows)
    for hidden, owners in ((routed, rows), (prompted, bare_rows)):
        for row, owner in enumerate(owners):
            alone = run_alone(base, plans[owner], grafts, batch, row)
            tolerance = 1e-10 if alone.dtype == torch.float64 else 3e-6
            assert (hidden[row, : len(alone)] - alone).abs().max() < tolerance * alone.abs().max()


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_both_ways_of_computing_attention_give_the_same(family: str):
    batch = make_batch()
    outputs: list[Tensor] = []
    for attention in ("sdpa", "eager", NAME):
        base = make_computing(family, attention)
        with attach(base, "long", grafts=make_grafts(base)) as attachment:
            outputs.append(attachment.run(*batch)[batch.attention_mask == 1])
    assert (outputs[0] - outputs[1]).abs().max() < 1e-5
    assert (outputs[0] - outputs[2]).abs().max() < 1e-5


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.no_grad()
def test_a_token_of_a_causal_base_sees_the_prefix_and_nothing_behind_it(attention: str):
    base = make_computing("causal", attention)
    grafts, batch = make_grafts(base), make_batch(lengths=(6, 6))
    with attach(base, "long", grafts=grafts) as attachment:
        whole = attachment.run(*batch)
        begun = attachment.run(batch.input_ids[:, :3], batch.attention_mask[:, :3])
    with attach(base, None) as attachment:
        bare = attachment.run(*batch)
    assert (whole[:, :3] - begun).abs().max() < 1e-5
    assert ((whole - bare).abs().amax(-1) > 1e-3).all()


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_pass_may_ask_for_places_and_begin_or_end_in_the_middle(family: str):
    base = make_base(family)
    batch, at = make_batch(), torch.tensor([0, 3, 10, 19])
    with attach(base, "long", grafts=make_grafts(base)) as attachment:
        whole = attachment.run(*batch)
        places = attachment.run(*batch, at=at)
        below = attachment.run(*batch, layer=1)
        above = attachment.run_above(below, *batch, start=1)
    assert (places - whole.flatten(0, 1)[at]).abs().max() < 1e-5
    assert torch.equal(above, whole)


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_that_are_run_again_have_the_same_gradients(family: str):
    base = make_base(family)
    graft = make_grafts(base)[0]
    gradients: list[list[Tensor]] = []
    for layers in (nullcontext(), recompute_layers(base)):
        graft.layers.zero_grad()
        with layers, attach(base, "long", grafts=[graft]) as attachment:
            attachment.run(*make_batch()).square().sum().backward()
        gradients.append([value.grad for value in graft.layers.parameters() if value.grad is not None])
    assert len(gradients[0]) == 5
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*gradients, strict=True))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@torch.no_grad()
def test_compiled_layers_give_the_same():
    base = make_base("bert")
    grafts, batch = make_grafts(base), make_batch()
    outputs: list[Tensor] = []
    counter = CompileCounter()
    for layers in (nullcontext(), CompiledLayers(base, backend=counter).put_in_force()):
        with attach(base, "short", grafts=grafts) as attachment, layers:
            outputs.append(attachment.run(*batch))
    assert counter.frame_count > 0
    assert (outputs[0] - outputs[1]).abs().max() < 1e-5


def test_the_base_computes_its_attention_as_before_afterwards():
    base = make_base("bert")
    known = list(ALL_ATTENTION_FUNCTIONS)
    configs = {id(layer.config) for layer in base.model.modules() if "config" in vars(layer)}
    attachment = attach(base, "long", grafts=make_grafts(base))
    assert len(list(ALL_ATTENTION_FUNCTIONS)) == len(known) + 1
    attachment.remove()
    attachment.remove()
    assert list(ALL_ATTENTION_FUNCTIONS) == known
    assert {id(layer.config) for layer in base.model.modules() if "config" in vars(layer)} == configs


def test_an_error_while_attaching_leaves_nothing_behind():
    base = make_base("deberta-v2")
    known = list(ALL_ATTENTION_FUNCTIONS)
    with pytest.raises(GraftError) as refusal:
        attach(base, "long", grafts=make_grafts(base))
    assert str(refusal.value) == (
        "The base 'tiny-deberta-v2' computes its attention by itself, as all of the family 'deberta-v2' do, so no keys "
        "and values can be put before its own. Expected a family whose attention goes through transformers' common "
        "function. Take another part, such as lora or bottleneck."
    )
    assert list(ALL_ATTENTION_FUNCTIONS) == known
    assert base.in_force == []
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in base.model.modules())


def test_attention_whose_masks_are_not_known_is_refused():
    base = make_base("bert")
    base.model.config._attn_implementation = "flex_attention"
    with pytest.raises(GraftError) as refusal:
        attach(base, "long", grafts=make_grafts(base))
    assert str(refusal.value) == (
        "The base 'tiny-bert' computes its attention by 'flex_attention', whose masks cannot be made longer for a "
        "prefix. Expected 'sdpa' or 'eager'. Load the base with one of these."
    )


@pytest.mark.parametrize(("name", "what"), [("long", "prefix"), ("prompt", "prompt")])
def test_an_average_of_outputs_with_what_stands_before_the_tokens_is_refused(name: str, what: str):
    base = make_base("bert")
    with pytest.raises(PlanError) as refusal:
        attach(base, f"average({name}, plain, of=outputs)", grafts=make_grafts(base))
    assert str(refusal.value) == (
        f"A {what} stands inside an average or a fusion, whose members act on one output. Expected it in a stack. "
        f"Stack the graft with the {what} below."
    )
    assert base.in_force == []


@torch.no_grad()
def test_a_member_that_changes_weights_keeps_its_prefix_in_its_own_pass():
    base = make_base("bert")
    both = make_trained_graft(base, "both", [Delta(weights=("linear",)), Prefix(length=2)], seed=9)
    both.layers.requires_grad_(False)
    grafts, batch = [*make_grafts(base), both], make_batch()
    with attach(base, "route(both, long)", grafts=grafts) as attachment:
        routed = attachment.run(*batch, rows=[1, 0, 1])
    alone = run_alone(base, "both", grafts, batch, 1)
    assert (routed[1, : len(alone)] - alone).abs().max() < 1e-5
