"""GPT-2's layers with transposed weights are linear layers once a base is loaded."""

from __future__ import annotations

import copy

import torch
from tests.tiny import make_base, make_batch, make_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from polygraft.base.packed import PackedLinear
from polygraft.base.transposed import restore_order, turn_into_linear
from polygraft.base.weights import list_weights


@torch.no_grad()
def test_the_layers_compute_what_they_computed():
    plain = make_model("gpt2").base_model.double()
    linear = copy.deepcopy(plain)
    turn_into_linear(linear)
    assert sum(isinstance(layer, Conv1D) for layer in plain.modules()) == 12
    assert sum(type(layer) is nn.Linear for layer in linear.modules()) == 12
    assert not any(isinstance(layer, Conv1D) for layer in linear.modules())
    found, expected = (model(**make_batch()._asdict()).last_hidden_state for model in (linear, plain))
    assert (found - expected).abs().max() < 1e-12


def test_a_row_of_a_weight_is_one_output():
    base, plain = make_base("gpt2"), make_model("gpt2").base_model
    roles = {weight.name: (weight.role, weight.shape) for weight in list_weights(base)}
    assert roles["h.0.attn.c_attn.weight"] == ("linear", (48, 16))
    assert roles["h.0.mlp.c_fc.weight"] == ("linear", (24, 16))
    assert roles["h.0.attn.c_attn.bias"] == ("bias", (48,))
    assert roles["h.0.ln_1.weight"] == ("norm", (16,))
    assert roles["wte.weight"] == ("embedding", (57, 16))
    own = base.model.get_parameter("h.1.mlp.c_proj.weight")
    assert torch.equal(own, plain.get_parameter("h.1.mlp.c_proj.weight").T)
    assert isinstance(base.model.get_submodule("h.1.mlp.c_proj"), nn.Linear | PackedLinear)


def test_files_get_the_order_of_their_family_back():
    base, plain = make_base("gpt2"), make_model("gpt2").base_model
    written = restore_order(base, base.model.state_dict())
    expected = plain.state_dict()
    assert list(written) == list(expected)
    assert all(torch.equal(written[name], tensor) for name, tensor in expected.items())
    other = make_base("llama")
    same = restore_order(other, other.model.state_dict())
    assert all(torch.equal(same[name], tensor) for name, tensor in other.model.state_dict().items())
