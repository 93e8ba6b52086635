from __future__ import annotations

import pytest
import torch
from tests.tiny import BASES, TIED, make_batch, make_model

from polygraft.base.pretrained_head import find_head
from polygraft.base.sites import find_family

FAMILY_OF = {name: find_family(model_type) for name, (model_type, _) in BASES.items()}


@pytest.mark.parametrize("name", BASES)
@torch.no_grad()
def test_the_head_gives_the_logits_of_transformers(name: str):
    whole = make_model(name)
    batch = make_batch()
    output = whole(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    head = find_head(whole, FAMILY_OF[name].heads)
    hidden = whole.base_model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    scores = head.transform(hidden.last_hidden_state) @ head.weight.T
    scores = scores if head.bias is None else scores + head.bias
    assert (scores - output.logits).abs().max() < 1e-5
    assert output.logits.std() > 0.1


@pytest.mark.parametrize("name", TIED)
def test_a_tied_decoder_is_not_kept_twice(name: str):
    whole = make_model(name)
    head = find_head(whole, FAMILY_OF[name].heads)
    assert head.weight.data_ptr() == whole.get_input_embeddings().weight.data_ptr()


def test_a_decoder_of_its_own_is_taken():
    whole = make_model("eurobert")
    head = find_head(whole, FAMILY_OF["eurobert"].heads)
    assert head.weight.data_ptr() != whole.get_input_embeddings().weight.data_ptr()
    assert torch.equal(head.weight, whole.lm_head.weight)


@pytest.mark.parametrize("name", BASES)
def test_a_bare_encoder_has_no_head(name: str):
    assert find_head(make_model(name).base_model, FAMILY_OF[name].heads) is None
