"""What a causal base decides otherwise: the piece that fills rows, and how pieces are guessed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.tiny import DECODERS, ENCODERS, make_base, make_batch, make_model, make_tokenizer
from transformers.cache_utils import DynamicCache

from polygraft.attach.attach import attach
from polygraft.base.base import Base
from polygraft.base.load import freeze_base
from polygraft.base.pretrained_head import find_head
from polygraft.base.sites import find_family
from polygraft.errors import BaseModelError


def make_base_without(name: str, *roles: str) -> Base:
    """A tiny base whose tokenizer lacks some of its special pieces."""
    tokenizer = make_tokenizer()
    for role in roles:
        setattr(tokenizer, f"{role}_token", None)
    return freeze_base(name=f"tiny-{name}", model=make_model(name).base_model, tokenizer=tokenizer)


@pytest.mark.parametrize("name", DECODERS)
def test_decoders_guess_the_next_piece(name: str):
    base = make_base(name)
    assert base.sites.is_causal
    assert base.guesses == "causal"
    base.check_guesses("causal")


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_guess_hidden_pieces(name: str):
    assert make_base(name).guesses == "mlm"


def test_a_decoder_that_sees_whole_rows_guesses_hidden_pieces():
    base = make_base("gemma3", use_bidirectional_attention=True, with_head=False)
    assert base.guesses == "mlm"
    batch = make_batch(lengths=(6,))
    other = batch.input_ids.clone()
    other[0, -1] = 9
    with torch.no_grad(), attach(base, None) as attachment:
        first, second = (attachment.run(ids, batch.attention_mask)[0, 0] for ids in (batch.input_ids, other))
    assert (first - second).abs().max() > 1e-3


@pytest.mark.parametrize("name", DECODERS)
@torch.no_grad()
def test_a_token_sees_those_before_it_alone(name: str):
    base, batch = make_base(name), make_batch(lengths=(6,))
    other = batch.input_ids.clone()
    other[0, 3] = 9 if int(other[0, 3]) != 9 else 10
    with attach(base, None) as attachment:
        first, second = (attachment.run(ids, batch.attention_mask)[0] for ids in (batch.input_ids, other))
    assert torch.equal(first[:3], second[:3])
    assert (first[3:] - second[3:]).abs().amax(-1).min() > 1e-3


def test_rows_of_a_causal_base_are_filled_with_what_ends_texts_if_need_be():
    assert make_base("gpt2").pad_id == 1
    assert make_base_without("gpt2", "pad").pad_id == 2
    with pytest.raises(BaseModelError) as refusal:
        _ = make_base_without("gpt2", "pad", "eos", "sep").pad_id
    assert str(refusal.value) == (
        "The tokenizer of 'tiny-gpt2' has no pad piece, which is needed here. Expected one of the special tokens to be "
        "the pad_token. Add it to the tokenizer's configuration."
    )
    with pytest.raises(BaseModelError, match="has no pad piece"):
        _ = make_base_without("bert", "pad").pad_id


@pytest.mark.parametrize("name", DECODERS)
@torch.no_grad()
def test_what_fills_rows_changes_nothing(name: str):
    base, batch = make_base(name), make_batch()
    filled = batch.input_ids.where(batch.attention_mask.bool(), torch.tensor(2))
    with attach(base, None) as attachment:
        first, second = (attachment.run(ids, batch.attention_mask) for ids in (batch.input_ids, filled))
    assert torch.equal(first[batch.attention_mask == 1], second[batch.attention_mask == 1])


@pytest.mark.parametrize("name", DECODERS)
def test_nothing_is_kept_for_pieces_to_come(name: str, monkeypatch: pytest.MonkeyPatch):
    def refuse(self: DynamicCache, *arguments: Any, **named: Any) -> None:
        raise AssertionError("keys and values were kept")

    monkeypatch.setattr(DynamicCache, "update", refuse)
    with torch.no_grad(), attach(make_base(name), None) as attachment:
        attachment.run(*make_batch())


def test_scores_that_are_bent_behind_the_decoder_are_refused():
    whole = make_model("gemma3", final_logit_softcapping=30.0)
    with pytest.raises(BaseModelError) as refusal:
        find_head(whole, find_family("gemma3_text").heads)
    assert str(refusal.value) == (
        "The head of this Gemma3ForCausalLM bends its scores to at most 30.0 (final_logit_softcapping). Expected a "
        "head whose scores are those of a linear layer. Take another base of the family."
    )


def test_gemma_2_is_refused_by_its_type():
    with pytest.raises(BaseModelError, match="A base of the type 'gemma2' is not supported"):
        find_family("gemma2")
