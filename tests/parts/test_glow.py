from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from polygraft.errors import OptionError
from polygraft.parts.glow import Glow, GlowLayers
from polygraft.parts.part import Dimensions

GOLDEN = Path(__file__).parent.parent / "formats" / "glow" / "golden.safetensors"


def build(*, embedding: int = 8, trained: bool = True, **options: object) -> GlowLayers:
    generator = torch.Generator().manual_seed(0)
    sizes = Dimensions(num_layers=2, hidden=12, embedding=embedding, vocab=20)
    layers = Glow.from_options(options).build(sizes, generator=generator)
    if trained:
        for parameter in layers.parameters():
            parameter.data.normal_(generator=generator)
    return layers


def test_a_fresh_one_changes_nothing():
    x = torch.randn(2, 3, 8)
    layers = build(trained=False)
    assert torch.equal(layers(x), x)
    assert torch.equal(layers.invert(x), x)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu_new"])
@torch.no_grad()
def test_the_inverse_undoes_it(activation: str):
    x = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    layers = build(activation=activation)
    assert (layers(x) - x).abs().max() > 1
    assert (layers.invert(layers(x)) - x).abs().max() < 1e-10
    assert (layers(layers.invert(x)) - x).abs().max() < 1e-10


@torch.no_grad()
def test_the_numbers_are_those_of_another_library():
    tensors = load_file(GOLDEN)
    x, y = tensors.pop("x"), tensors.pop("y")
    layers = build(embedding=16, activation="tanh")
    places = {"0": "down", "2": "up"}
    ours = {f"{name[:2].upper()}.{places[name[3]]}.{name[5:]}": tensor for name, tensor in tensors.items()}
    layers.load_state_dict(ours, strict=True)
    assert ((layers(x) - y) / y.abs().clamp(min=1)).abs().max() < 1e-5
    assert ((layers.invert(y) - x) / x.abs().clamp(min=1)).abs().max() < 1e-5
    assert (y - x).abs().max() > 1


@torch.no_grad()
def test_a_scale_stays_between_bounds_however_large_the_values():
    layers = build()
    layers.S1.up.bias[:4] = 1e30
    scale, _ = layers.S1(torch.zeros(1, 4))
    assert (scale - math.exp(5 * 0.636 * math.pi / 2)).abs().max() < 1e-3


def test_the_width_is_half_the_embedding_over_the_reduction():
    assert build(reduction=2).S1.down.weight.shape == (2, 4)
    assert build(reduction=1).S2.up.weight.shape == (8, 4)


def test_embeddings_of_an_odd_size_are_refused():
    with pytest.raises(OptionError) as refusal:
        build(embedding=7)
    assert str(refusal.value) == (
        "The part 'glow' halves the embeddings, and this base's have the odd size 7. Leave the part out for this base."
    )


def test_a_reduction_that_leaves_nothing_is_refused():
    with pytest.raises(OptionError) as refusal:
        build(reduction=5)
    assert str(refusal.value) == (
        "The part 'glow' has reduction=5, which leaves no width of a size of 4. Expected a number from 0.125 to 4. "
        "Choose a smaller reduction."
    )
