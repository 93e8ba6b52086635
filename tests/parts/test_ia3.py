from __future__ import annotations

import pytest
import torch
from tests.parts.test_lora import SIZES, make_state
from tests.tiny import make_base

from polygraft.attach.attach import attach
from polygraft.attach.graft import make_graft
from polygraft.errors import GraftError, OptionError
from polygraft.parts.ia3 import IA3, IA3Layers
from polygraft.parts.reach import LinearWeights


def build(**options: object) -> IA3Layers:
    return IA3.from_options(options).build(SIZES, generator=torch.Generator().manual_seed(0))


def train(layers: IA3Layers) -> IA3Layers:
    layers.double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for values in layers.parameters():
            values.copy_(torch.randn(values.shape, generator=generator, dtype=torch.float64))
    return layers


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_fresh_one_changes_nothing(dtype: torch.dtype):
    layers, state = build(), make_state(dtype=dtype)
    x = torch.randn(2, 5, 12).to(dtype)
    assert torch.equal(layers.change_output((0, "key"), state), state.y)
    assert torch.equal(layers.change_input((0, "down"), x), x)
    assert layers.change_input((0, "down"), x).dtype == dtype


def test_it_multiplies_what_a_map_gives_and_what_another_reads():
    layers, state = train(build()), make_state()
    factors = layers.state_dict()
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    assert torch.equal(layers.change_output((1, "value"), state), state.y * factors["outputs.1.value"])
    assert torch.equal(layers.change_input((1, "down"), x), x * factors["inputs.1.down"])


def test_by_default_they_are_keys_values_and_what_the_second_map_of_the_feed_forward_reads():
    layers = build(skip_layers=[1])
    assert layers.list_outputs() == [(0, "key"), (0, "value"), (2, "key"), (2, "value")]
    assert layers.list_inputs() == [(0, "down"), (2, "down")]
    assert {name: tuple(values.shape) for name, values in layers.state_dict().items()} == {
        **{f"outputs.{layer}.{role}": (8,) for layer in (0, 2) for role in ("key", "value")},
        **{f"inputs.{layer}.down": (12,) for layer in (0, 2)},
    }


@pytest.mark.parametrize("has_bias", [True, False])
def test_merged_weights_do_the_same(has_bias: bool):
    layers, state = train(build(outputs=["query"], inputs=["query"])), make_state(has_bias=has_bias)
    own = LinearWeights(weight=state.weight, bias=state.bias)
    merged = layers.merge_input((1, "query"), layers.merge((1, "query"), own, own=own))
    bias = 0 if state.bias is None else state.bias
    y = layers.change_input((1, "query"), state.x) @ state.weight.T + bias
    expected = y * layers.state_dict()["outputs.1.query"]
    given = state.x @ merged.weight.T + (0 if merged.bias is None else merged.bias)
    assert (given - expected).abs().max() < 1e-12
    assert (merged.bias is None) is not has_bias


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"outputs": [], "inputs": []},
            "The part 'ia3' has no outputs and no inputs, so it would change nothing. Expected the roles of linear "
            "layers, such as key and value. Name at least one.",
        ),
        (
            {"outputs": ["keys"]},
            "The part 'ia3' has outputs with 'keys', which is no role of a linear layer. Expected some of query, key, "
            "value, output, up, gate, down. Did you mean 'key'? Correct it.",
        ),
        (
            {"inputs": ["gate"]},
            "The part 'ia3' has inputs with 'gate', and the base has no linear layer of that role. Expected some of "
            "query, key, value, output, up, down. Correct it.",
        ),
        (
            {"inputs": ["down", "down"]},
            "The part 'ia3' has inputs with 'down' twice. Expected each role once. Leave one out.",
        ),
        (
            {"skip_layers": [0, 1, 2]},
            "The part 'ia3' skips all 3 layers of the base, so it would do nothing. Leave at least one layer out of "
            "skip_layers.",
        ),
        (
            {"outputs": [1]},
            "The part 'ia3' has outputs=(1,). Expected a value of the type {kind}. Correct it.",
        ),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, object], message: str):
    kind = "tuple[Literal['query', 'key', 'value', 'output', 'up', 'gate', 'down'], ...]"
    with pytest.raises(OptionError) as refusal:
        build(**options)
    assert str(refusal.value) == message.replace("{kind}", kind)


def test_an_input_that_other_maps_read_too_is_refused():
    base = make_base("modernbert")
    graft = make_graft(base, "i", [IA3(inputs=("key",))])
    with pytest.raises(GraftError) as refusal:
        attach(base, "i", grafts=[graft])
    assert str(refusal.value) == (
        "A graft of the plan changes what 'key' in layer 0 reads, and in the base 'tiny-modernbert' one layer computes "
        "it together with others from the same input. Expected a map that stands alone, such as 'down' or 'output'. "
        "Change what it gives instead."
    )
    assert base.in_force == []
