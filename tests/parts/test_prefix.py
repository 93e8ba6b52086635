from __future__ import annotations

import pytest
import torch

from polygraft.errors import OptionError
from polygraft.parts.part import Dimensions
from polygraft.parts.prefix import Prefix, PrefixLayers
from polygraft.parts.reach import list_touched_layers
from polygraft.types import ProjectionInfo

WIDTHS = ((8, 8), (4, 4), (4, 6))
SIZES = Dimensions(
    num_layers=3,
    hidden=8,
    embedding=8,
    vocab=20,
    projections=tuple(
        ProjectionInfo(layer=layer, role=role, rows=rows, columns=8)
        for layer, (key, value) in enumerate(WIDTHS)
        for role, rows in (("query", 8), ("key", key), ("value", value))
    ),
)


def build(**options: object) -> PrefixLayers:
    part = Prefix.from_options({"length": 5, "reparameterization": 3, **options})
    return part.build(SIZES, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_plain_values_are_cut_into_keys_and_values_layer_by_layer():
    layers = build(reparameterization=None)
    values = layers.source.values
    assert values.shape == (5, 34)
    ends = [0, 8, 16, 20, 24, 28, 34]
    for layer in range(3):
        keys, vals = layers.make_prefix(layer)
        start, middle, end = ends[2 * layer : 2 * layer + 3]
        assert torch.equal(keys, values[:, start:middle])
        assert torch.equal(vals, values[:, middle:end])
    assert 0.01 < values.std() < 0.03


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@torch.no_grad()
def test_a_network_makes_the_values_of_all_layers(activation: str):
    layers = build(activation=activation)
    source = layers.source
    act = torch.tanh if activation == "tanh" else torch.relu
    middle = act(source.embedding @ source.down.weight.T + source.down.bias)
    expected = middle @ source.up.weight.T + source.up.bias
    assert (layers.make_all() - expected).abs().max() < 1e-6
    found = torch.cat([each for layer in range(3) for each in layers.make_prefix(layer)], dim=1)
    assert (found - expected).abs().max() < 1e-6


def test_its_tensors_are_these():
    assert {name: list(value.shape) for name, value in build().named_parameters()} == {
        "source.embedding": [5, 8],
        "source.down.weight": [3, 8],
        "source.down.bias": [3],
        "source.up.weight": [34, 3],
        "source.up.bias": [34],
    }
    assert [name for name, _ in build(reparameterization=None).named_parameters()] == ["source.values"]


def test_skipped_layers_get_none():
    layers = build(skip_layers=[0, -1], reparameterization=None)
    assert layers.list_layers() == [1]
    assert layers.make_all().shape == (5, 8)


def test_the_same_generator_gives_the_same_tensors():
    first, second = build().state_dict(), build().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_base_without_keys_is_refused():
    sizes = Dimensions(num_layers=1, hidden=8, embedding=8, vocab=20)
    with pytest.raises(OptionError) as refusal:
        Prefix().build(sizes, generator=torch.Generator())
    assert str(refusal.value) == (
        "The part 'prefix' stands in layer 0, and this base has no linear map there that gives a key. Expected a base "
        "with keys and values in every layer that is not skipped. Leave the part out for this base."
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"length": 0},
            "The part 'prefix' has length=0. Expected a whole number from 1 to 4096. Correct it.",
        ),
        (
            {"length": 10**18},
            f"The part 'prefix' has length={10**18}. Expected a whole number from 1 to 4096. Correct it.",
        ),
        (
            {"length": 2.0},
            "The part 'prefix' has length=2.0. Expected a value of the type int. Correct it.",
        ),
        (
            {"reparameterization": -1},
            "The part 'prefix' has reparameterization=-1. Expected a whole number from 1 to 65536. Correct it.",
        ),
        (
            {"activation": "tahn"},
            "There is no activation 'tahn'. Known are relu, gelu, gelu_new, swish, tanh, leakyrelu, sigmoid, linear. "
            "Did you mean 'tanh'? Choose one.",
        ),
        (
            {"skip_layers": [0, 1, 2]},
            "The part 'prefix' skips all 3 layers of the base, so it would do nothing. Leave at least one layer out of "
            "skip_layers.",
        ),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, object], message: str):
    with pytest.raises(OptionError) as refusal:
        build(**options)
    assert str(refusal.value) == message


def test_it_moves_the_positions_of_the_tokens_by_its_length_or_not_at_all():
    assert build().num_moved == 0
    assert list_touched_layers(build(skip_layers=[0])) == [1, 2]
    moving = build(moves_positions=True, skip_layers=[0])
    assert moving.num_moved == 5
    # Other positions enter the first layer, wherever the prefix stands.
    assert list_touched_layers(moving) is None
