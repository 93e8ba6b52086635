"""Hidden states at some places alone are those of the whole pass, and so are the gradients."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from tests.tiny import BASES, make_base, make_batch, make_trained_graft
from torch import Tensor

from polygraft.attach.attach import Attachment, attach
from polygraft.attach.recompute import recompute_layers
from polygraft.base.base import Base
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.invertible import Invertible

PLACES = torch.tensor([10, 1, 12, 1])
PLACEMENTS = ("ffn", "attention+ffn", "parallel")


def list_grads(attachment: Attachment) -> list[Tensor]:
    return [
        value.grad
        for graft in attachment.grafts
        for value in graft.layers.parameters()
        if value.grad is not None
    ]


def count_tokens(base: Base) -> list[int]:
    """Make every layer's feed-forward part note how many tokens it reads."""
    counts: list[int] = []
    for index in range(base.sites.num_layers):
        module = base.sites.sublayer(index, "ffn").input
        module.register_forward_pre_hook(lambda _, arguments: counts.append(arguments[0][..., 0].numel()))
    return counts


@pytest.mark.parametrize("is_recomputed", [False, True])
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("layer", [-1, 2])
@pytest.mark.parametrize("name", BASES)
def test_places_have_the_numbers_and_gradients_of_the_whole_pass(
    name: str, layer: int, placement: str, is_recomputed: bool
):
    base, batch = make_base(name), make_batch()
    grafts = [
        make_trained_graft(base, "qu", [Bottleneck(reduction=2, placement=placement), Invertible()], seed=1),
        make_trained_graft(base, "ner", [Bottleneck(reduction=4)], seed=2),
    ]
    found: list[list[Tensor]] = []
    for at in (None, PLACES):
        for graft in grafts:
            graft.layers.zero_grad()
        layers: AbstractContextManager[None] = recompute_layers(base) if is_recomputed else nullcontext()
        with layers, attach(base, "stack(qu, ner)", grafts=grafts) as attachment:
            hidden = attachment.run(*batch, layer=layer, at=at)
            hidden = hidden.flatten(0, 1)[PLACES] if at is None else hidden
            hidden.square().sum().backward()
            found.append([hidden.detach(), *list_grads(attachment)])
    assert found[1][0].shape == (4, base.sites.hidden)
    assert len(found[0]) == len(found[1]) > 10
    for whole, places in zip(*found, strict=True):
        torch.testing.assert_close(places, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", BASES)
def test_a_pass_from_the_middle_ends_at_the_places_too(name: str):
    base, batch = make_base(name), make_batch()
    graft = make_trained_graft(base, "qu", [Bottleneck(reduction=2)])
    with torch.no_grad(), attach(base, "qu", grafts=[graft]) as attachment:
        below = attachment.run(*batch, layer=1)
        whole = attachment.run_above(below, *batch, start=1)
        found = attachment.run_above(below, *batch, start=1, at=PLACES)
        torch.testing.assert_close(found, whole.flatten(0, 1)[PLACES], rtol=1e-5, atol=1e-6)
        top = attachment.run_above(below, *batch, start=1, layer=1, at=PLACES)
        assert torch.equal(top, below.flatten(0, 1)[PLACES])


@torch.no_grad()
@pytest.mark.parametrize("name", BASES)
def test_the_last_layer_computes_its_feed_forward_part_at_the_places_alone(name: str):
    base, batch = make_base(name), make_batch()
    counts = count_tokens(base)
    num_layers, num_tokens = base.sites.num_layers, batch.input_ids.numel()
    is_post_norm = base.sites.sublayer(0, "attention").norm is not None
    with attach(base, None) as attachment:
        attachment.run(*batch, at=PLACES)
        assert counts == [num_tokens] * (num_layers - 1) + [4 if is_post_norm else num_tokens]
        counts.clear()
        attachment.run(*batch, layer=2, at=PLACES)
        assert counts == [num_tokens, 4 if is_post_norm else num_tokens]
        # Nothing of it is left for the next pass.
        counts.clear()
        assert attachment.run(*batch).shape == (*batch.input_ids.shape, base.sites.hidden)
        assert counts == [num_tokens] * num_layers
        # The lowest layer never ends early.
        assert attachment.run(*batch, layer=1, at=PLACES).shape == (4, base.sites.hidden)


@torch.no_grad()
@pytest.mark.parametrize("layer", [-1, 2])
def test_scores_at_places_are_those_of_all_tokens_there(layer: int):
    base, batch = make_base("xlm-roberta"), make_batch()
    tokens = make_trained_graft(
        base, "ner", [Bottleneck(), Head(objective="tokens", labels=("O", "B-X"), layer=layer)]
    )
    with attach(base, "ner", grafts=[tokens]) as attachment:
        whole = attachment.score(*batch)
        assert whole.shape == (*batch.input_ids.shape, 2)
        found = attachment.score(*batch, at=PLACES)
    torch.testing.assert_close(found, whole.flatten(0, 1)[PLACES], rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_a_head_for_sequences_has_the_first_token_alone_computed():
    base, batch = make_base("bert"), make_batch()
    graft = make_trained_graft(
        base, "topic", [Bottleneck(), Head(objective="sequence", labels=("yes", "no"))]
    )
    counts = count_tokens(base)
    with attach(base, "topic", grafts=[graft]) as attachment:
        scores = attachment.score(*batch)
        assert counts[-1] == len(batch.input_ids)
        head, hidden = attachment.find_head(), attachment.run(*batch)
        torch.testing.assert_close(scores, head(hidden[:, 0]), rtol=1e-5, atol=1e-6)
