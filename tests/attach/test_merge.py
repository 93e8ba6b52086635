"""Plans merged into the base's weights: the same numbers as attached, nothing left in the pass, exactly undone."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.tiny import BASES, make_base, make_batch, make_trained_graft
from tests.weights import draw_masks, draw_values
from torch import Tensor

from polygraft.attach.attach import Attachment, attach
from polygraft.attach.graft import Graft, make_graft
from polygraft.attach.merge import merge
from polygraft.attach.plan import Plan, average, parallel, route, stack
from polygraft.attach.sparse import make_delta, make_mask
from polygraft.base.base import Base
from polygraft.errors import GraftError, PlanError
from polygraft.parts.bitfit import BitFit
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.ia3 import IA3
from polygraft.parts.invertible import Invertible
from polygraft.parts.lora import Lora
from polygraft.parts.part import Part

PARTS: dict[str, list[Part]] = {
    "lora": [Lora(rank=3, roles=("query", "key", "value", "output", "up", "down"))],
    "dora": [Lora(rank=2, dora=True, roles=("query", "value", "up", "down"))],
    "ia3": [IA3()],
    "more": [IA3(outputs=("query", "value", "up"), inputs=("output", "down"))],
    "bitfit": [BitFit(weights=("norm",))],
    "en": [Bottleneck(reduction=2), Invertible()],
    "ner": [
        Lora(rank=2),
        Bottleneck(reduction=4, placement="attention+ffn"),
        Head(objective="tokens", labels=("O", "B-LOC")),
    ],
}
PLANS = (
    "stack(lora, dora, ia3, more, bitfit)",
    "stack(ia3, more, dora, lora)",
    "stack(delta, en, mask, dora, ner)",
    "stack(en, stack(ia3, ner))",
)


def make_grafts(base: Base) -> list[Graft]:
    masks = draw_masks(base, 0.2, seed=5)
    kept = {name: torch.rand(mask.shape) < 0.9 for name, mask in draw_masks(base, 1, seed=6).items()}
    return [
        *(
            make_trained_graft(base, name, parts, seed=seed)
            for seed, (name, parts) in enumerate(PARTS.items())
        ),
        make_delta(base, "delta", masks, weights=("linear", "norm"), values=draw_values(masks, seed=7)),
        make_mask(base, "mask", kept, weights=("linear", "norm")),
    ]


def compute(attachment: Attachment) -> Tensor:
    batch = make_batch()
    return attachment.run(*batch)[batch.attention_mask == 1]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("family", BASES)
@torch.no_grad()
def test_a_merged_stack_gives_what_the_attached_one_does_and_is_exactly_undone(family: str, plan: str):
    base = make_base(family)
    grafts = make_grafts(base)
    with attach(base, None) as attachment:
        bare = compute(attachment)
    with attach(base, plan, grafts=grafts) as attachment:
        expected = compute(attachment)
    with merge(base, plan, grafts=grafts) as attachment:
        merged = compute(attachment)
        assert base.compute_fingerprint() != base.fingerprint
    assert base.compute_fingerprint() == base.fingerprint
    with attach(base, None) as attachment:
        assert torch.equal(compute(attachment), bare)
    size = max(1.0, expected.abs().max().item())
    assert (merged - expected).abs().max() < 1e-5 * size
    assert (bare - expected).abs().max() > 0.1


@torch.no_grad()
def test_only_what_cannot_stand_in_weights_is_left_in_the_pass():
    base = make_base()
    grafts = make_grafts(base)
    with merge(base, "stack(lora, delta, ia3)", grafts=grafts) as attachment:
        assert attachment.hooks.places == set()
        assert attachment.edits.changed == {}
    with merge(base, "ner", grafts=grafts) as attachment:
        assert attachment.hooks.places == {
            (layer, name) for layer in range(3) for name in ("attention", "ffn")
        }
        assert [part.kind for part in attachment.grafts[0].parts] == ["bottleneck", "head"]
        assert attachment.score(*make_batch()).shape == (3, 9, 2)
        assert str(attachment) == "ner"


@torch.no_grad()
def test_a_plan_with_nothing_to_merge_is_attached():
    base = make_base()
    grafts = make_grafts(base)
    with attach(base, "en", grafts=grafts) as attachment:
        expected = compute(attachment)
    with merge(base, "en", grafts=grafts) as attachment:
        assert torch.equal(compute(attachment), expected)
        assert base.compute_fingerprint() == base.fingerprint


def test_merged_values_get_no_gradients_and_the_base_stays_frozen():
    base = make_base()
    graft = make_graft(base, "b", [Lora(), BitFit(), Bottleneck(init="bert")])
    with merge(base, "b", grafts=[graft]) as attachment:
        assert not any(weight.requires_grad for weight in base.model.parameters())
        compute(attachment).sum().backward()
    learned = {
        name.split(".")[0] for name, value in graft.layers.named_parameters() if value.grad is not None
    }
    assert learned == {"bottleneck"}


def test_merging_over_a_plan_in_force_is_refused_and_leaves_it():
    base = make_base()
    grafts = make_grafts(base)
    with attach(base, "lora", grafts=grafts), pytest.raises(PlanError) as refusal:
        merge(base, "ia3", grafts=grafts)
    assert str(refusal.value) == (
        "The base 'tiny-bert' has a plan in force already: lora. Two plans at once would change each other. Call "
        "`remove()` on it first, or stack the grafts in one plan."
    )
    with (
        merge(base, "lora", grafts=grafts) as merged,
        pytest.raises(PlanError, match="a plan in force already"),
    ):
        attach(base, None)
    merged.remove()
    assert base.compute_fingerprint() == base.fingerprint


def test_a_graft_of_another_shape_leaves_the_base_as_it_was():
    base, other = make_base(), make_base(intermediate_size=40)
    graft = make_trained_graft(other, "l", [Lora(roles=("query", "up"))])
    with pytest.raises(GraftError) as refusal:
        merge(base, "l", grafts=[graft], any_base=True)
    assert str(refusal.value) == (
        "The tensor 'lora.layers.0.up.B' of the graft 'l' has the shape [40, 8] where [24, 8] was expected. The graft "
        "was made for a base of other sizes."
    )
    assert base.compute_fingerprint() == base.fingerprint and base.in_force == []


@pytest.mark.parametrize(
    "plan",
    [
        average("lora", "ia3", of="outputs"),
        route("lora", None),
        stack("lora", parallel("ner", "ia3")),
    ],
    ids=str,
)
def test_plans_that_are_no_stacks_are_refused(plan: Plan):
    base = make_base()
    with pytest.raises(PlanError) as refusal:
        merge(base, plan, grafts=make_grafts(base))
    assert base.in_force == []
    assert str(refusal.value) == (
        f"The plan '{plan}' cannot be merged: where grafts stand side by side or rows go different ways, no one weight "
        "does what they do. Expected a graft or a stack, as in stack(qu, ner). Attach the plan instead."
    )


def test_a_base_in_int8_is_refused():
    base = dataclasses.replace(make_base(), is_int8=True)
    graft = make_graft(base, "t", [Lora(), Bottleneck(), BitFit()])
    with pytest.raises(GraftError) as refusal:
        merge(base, "t", grafts=[graft])
    assert str(refusal.value) == (
        "The plan 't' was to be merged (lora, bitfit), and the base 'tiny-bert' was loaded in int8, whose weights were "
        "rounded once. Expected float32 or bfloat16. Load it with another --dtype, or attach the plan instead."
    )
    assert base.in_force == []


@torch.no_grad()
def test_in_bfloat16_weights_are_rounded_once_and_come_back_bit_for_bit():
    base = make_base()
    grafts = make_grafts(base)
    with attach(base, "stack(lora, dora, ia3)", grafts=grafts) as attachment:
        expected = compute(attachment)
    base.model.bfloat16()
    before = {name: weight.clone() for name, weight in base.model.named_parameters()}
    with merge(base, "stack(lora, dora, ia3)", grafts=grafts) as attachment:
        merged = compute(attachment)
    with attach(base, "stack(lora, dora, ia3)", grafts=grafts) as attachment:
        attached = compute(attachment)
    assert merged.dtype == torch.bfloat16
    scale = expected.abs().max()
    assert (merged - expected).abs().mean() < 0.05 * scale
    assert (merged - expected).abs().mean() < 1.5 * (attached - expected).abs().mean()
    assert all(torch.equal(weight, before[name]) for name, weight in base.model.named_parameters())
