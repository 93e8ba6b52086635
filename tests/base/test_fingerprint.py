from __future__ import annotations

import pytest
import torch
from tests.tiny import BASES, make_base, make_model, make_tokenizer

from polygraft.base.fingerprint import fingerprint_tokenizer, fingerprint_weights


def fingerprint(model: torch.nn.Module) -> str:
    return fingerprint_weights(model.named_parameters(), model.config)


@pytest.mark.parametrize("name", BASES)
def test_equal_weights_have_equal_fingerprints(name: str):
    assert fingerprint(make_model(name)) == fingerprint(make_model(name))
    assert fingerprint(make_model(name)) != fingerprint(make_model(name, seed=1))


def test_no_two_tiny_bases_have_the_same_fingerprint():
    assert len({make_base(name).fingerprint for name in BASES}) == len(BASES)


def test_one_bit_of_any_weight_changes_the_fingerprint():
    model = make_model("bert").base_model
    before = fingerprint(model)
    for name, weight in model.named_parameters():
        bits = weight.data.view(-1)[-1:].view(torch.int32)
        bits ^= 1
        assert fingerprint(model) != before, name
        bits ^= 1
    assert fingerprint(model) == before


def test_the_order_of_the_weights_does_not_matter():
    model = make_model("bert")
    weights = list(model.named_parameters())
    assert fingerprint_weights(reversed(weights), model.config) == fingerprint(model)


@pytest.mark.parametrize(
    ("change", "value"),
    [("name", "other"), ("shape", (16, 57)), ("dtype", torch.int32)],
)
def test_a_name_a_shape_and_a_dtype_are_part_of_it(change: str, value: object):
    model = make_model("bert")
    name, weight = "w", torch.zeros(57, 16)
    before = fingerprint_weights([(name, weight)], model.config)
    changed = {
        "name": ("other", weight),
        "shape": (name, weight.view(16, 57)),
        "dtype": (name, weight.view(torch.int32)),
    }[change]
    assert fingerprint_weights([changed], model.config) != before


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("bert", "num_attention_heads", 4),
        ("bert", "hidden_act", "relu"),
        ("bert", "layer_norm_eps", 1e-5),
        ("xlm-roberta", "pad_token_id", 2),
        ("distilbert", "n_heads", 4),
        ("distilbert", "activation", "relu"),
        ("deberta-v2", "conv_act", "tanh"),
        ("deberta-v3", "pos_att_type", ["p2c"]),
        ("modernbert", "local_attention", 8),
        ("modernbert", "norm_eps", 1e-6),
        ("eurobert", "rms_norm_eps", 1e-6),
        ("eurobert", "rope_parameters", {"rope_type": "default", "rope_theta": 5000.0}),
    ],
)
def test_what_changes_the_outputs_and_no_weight_changes_the_fingerprint(name: str, key: str, value: object):
    model = make_model(name)
    before = fingerprint(model)
    setattr(model.config, key, value)
    assert fingerprint(model) != before


def test_how_a_tokenizer_was_last_called_does_not_matter():
    tokenizer = make_tokenizer()
    before = fingerprint_tokenizer(tokenizer)
    tokenizer(["mariya", "cuscoman rirqan"], padding=True, truncation=True, max_length=3)
    assert fingerprint_tokenizer(tokenizer) == before == fingerprint_tokenizer(make_tokenizer())


def test_one_more_piece_changes_a_tokenizer_s_fingerprint():
    tokenizer = make_tokenizer()
    before = fingerprint_tokenizer(tokenizer)
    tokenizer.add_tokens(["qallqo"])
    assert fingerprint_tokenizer(tokenizer) != before


def test_another_special_piece_changes_a_tokenizer_s_fingerprint():
    tokenizer = make_tokenizer()
    before = fingerprint_tokenizer(tokenizer)
    tokenizer.mask_token = "<unk>"
    assert fingerprint_tokenizer(tokenizer) != before


@pytest.mark.parametrize("name", ["bert", "eurobert"])
def test_one_bit_of_the_bases_own_head_changes_the_heads_fingerprint_alone(name: str):
    base, same = make_base(name), make_base(name)
    assert base.head is not None
    assert base.head_fingerprint == same.head_fingerprint == base.compute_head_fingerprint()
    words = base.sites.word_embeddings.weight
    for key, value in base.head.named_parameters():
        if value.data_ptr() == words.data_ptr():
            continue
        flat = value.data.view(-1).view(torch.int32)
        flat[-1] ^= 1
        assert base.compute_head_fingerprint() != base.head_fingerprint, key
        flat[-1] ^= 1
    assert base.compute_head_fingerprint() == base.head_fingerprint
    assert base.compute_fingerprint() == base.fingerprint
    assert make_base(name, with_head=False).head_fingerprint is None
