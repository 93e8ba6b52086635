"""Positions that begin behind a prefix."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import BASES, make_base, make_batch, make_trained_graft
from transformers import DynamicCache

from polygraft.attach.attach import attach
from polygraft.attach.positions import check_room
from polygraft.attach.several import run_each
from polygraft.base.base import Base
from polygraft.errors import OptionError
from polygraft.evaluate.run import find_max_length
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.prefix import Prefix, PrefixLayers

FAMILIES = [name for name in BASES if not name.startswith("deberta")]
WITH_A_PAST = ["bert", "roberta", "xlm-roberta", "camembert", "electra", "gpt2", "llama", "qwen2", "gemma"]
"""Those whose models take keys and values of what came before, and whose tokens see all of them."""
MOVING = Prefix(length=4, reparameterization=None, moves_positions=True)


@pytest.mark.parametrize("family", WITH_A_PAST)
@torch.no_grad()
def test_a_prefix_that_moves_positions_is_a_past_of_the_base(family: str):
    base, batch = make_base(family), make_batch()
    graft = make_trained_graft(base, "x", [MOVING])
    (layers,) = graft.list_layers(PrefixLayers)
    config = base.model.config.to_dict()
    heads = config.get("num_key_value_heads") or config.get("num_attention_heads") or config["n_head"]
    past = DynamicCache()
    for layer in range(base.sites.num_layers):
        keys, values = (
            each.unflatten(-1, (heads, -1)).transpose(0, 1).expand(len(batch.input_ids), -1, -1, -1)
            for each in layers.make_prefix(layer)
        )
        past.update(keys, values, layer)
    mask = torch.cat([batch.attention_mask.new_ones(3, 4), batch.attention_mask], dim=1)
    wanted = base.model(
        input_ids=batch.input_ids, attention_mask=mask, past_key_values=past
    ).last_hidden_state
    with attach(base, "x", grafts=[graft]) as attachment:
        given = attachment.run(*batch)
    seen = batch.attention_mask == 1
    assert (given - wanted)[seen].abs().max() < 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_pass_may_begin_and_end_in_the_middle(family: str):
    base, batch, at = make_base(family), make_batch(), torch.tensor([0, 3, 10, 19])
    with attach(base, "x", grafts=[make_trained_graft(base, "x", [MOVING])]) as attachment:
        whole = attachment.run(*batch)
        places = attachment.run(*batch, at=at)
        below = attachment.run(*batch, layer=1)
        above = attachment.run_above(below, *batch, start=1)
    seen = batch.attention_mask == 1
    assert (places - whole.flatten(0, 1)[at]).abs().max() < 1e-5
    assert (above - whole)[seen].abs().max() < 1e-5


@torch.no_grad()
def test_several_ways_above_a_prefix_that_moves_positions_are_as_each_alone():
    base, batch = make_base("bert"), make_batch()
    upper = Bottleneck(reduction=2, skip_layers=(0, 1))
    grafts = [
        make_trained_graft(base, name, [part], seed=seed)
        for seed, (name, part) in enumerate({"low": MOVING, "a": upper, "b": upper}.items())
    ]
    for plans in (["stack(low, a)", "stack(low, b)"], ["stack(low, a)", "b"]):
        with attach(base, f"parallel({', '.join(plans)})", grafts=grafts) as attachment:
            each = run_each(attachment, *batch)
        for plan, hidden in zip(plans, each, strict=True):
            with attach(base, plan, grafts=grafts) as attachment:
                alone = attachment.run(*batch)
            assert (hidden - alone).abs().max() < 1e-5


def make_moving(family: str) -> tuple[Base, Prefix]:
    return make_base(family), Prefix(length=8, reparameterization=None, moves_positions=True)


@pytest.mark.parametrize(("family", "places"), [("bert", 48), ("xlm-roberta", 46), ("llama", 48)])
@torch.no_grad()
def test_rows_whose_positions_would_end_behind_the_last_are_refused(family: str, places: int):
    base, part = make_moving(family)
    with attach(base, "x", grafts=[make_trained_graft(base, "x", [part])]) as attachment:
        assert find_max_length(base, num_taken=attachment.num_taken) == min(40, places - 8)
        assert attachment.run(*make_batch(lengths=(places - 8, 3))).shape[1] == places - 8
        with pytest.raises(OptionError) as caught:
            attachment.run(*make_batch(lengths=(places - 7, 3)))
    assert str(caught.value) == (
        f"The plan 'x' lets the positions of rows of {places - 7} tokens begin 8 later, and the base 'tiny-{family}' "
        f"has {places} positions. Expected rows of at most {places - 8} tokens. Cut them, or take a shorter prefix."
    )


def test_a_prompt_and_a_prefix_take_positions_together():
    base = make_base("bert")
    check_room(base, "x", num_tokens=36, num_added=4, num_moved=8)
    with pytest.raises(OptionError) as caught:
        check_room(base, "x", num_tokens=37, num_added=4, num_moved=8)
    assert str(caught.value) == (
        "The plan 'x' puts a prompt of 4 before rows of 37 tokens and lets their positions begin 8 later, and the base "
        "'tiny-bert' has 48 positions. Expected rows of at most 36 tokens. Cut them, or take a shorter prompt and a "
        "shorter prefix."
    )
