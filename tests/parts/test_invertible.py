from __future__ import annotations

import pytest
import torch

from polygraft.errors import OptionError
from polygraft.parts.invertible import Invertible, InvertibleLayers
from polygraft.parts.part import Dimensions


def build(*, embedding: int = 8, trained: bool = True, **options: object) -> InvertibleLayers:
    generator = torch.Generator().manual_seed(0)
    sizes = Dimensions(num_layers=2, hidden=12, embedding=embedding, vocab=20)
    layers = Invertible.from_options(options).build(sizes, generator=generator)
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
    x = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(3))
    layers = build(activation=activation)
    assert (layers(x) - x).abs().max() > 1
    assert (layers.invert(layers(x)) - x).abs().max() < 1e-5
    assert (layers(layers.invert(x)) - x).abs().max() < 1e-5


@torch.no_grad()
def test_each_half_is_changed_by_the_other():
    layers, x = build(), torch.randn(4, 8)
    first = x[:, :4] + layers.F(x[:, 4:])
    second = x[:, 4:] + layers.G(first)
    assert (layers(x) - torch.cat([first, second], 1)).abs().max() < 1e-6


def test_the_width_is_half_the_embedding_over_the_reduction():
    assert build(reduction=2).F.down.weight.shape == (2, 4)
    assert build(reduction=1).G.up.weight.shape == (4, 4)


def test_embeddings_of_an_odd_size_are_refused():
    with pytest.raises(OptionError) as refusal:
        build(embedding=7)
    assert str(refusal.value) == (
        "The part 'invertible' halves the embeddings, and this base's have the odd size 7. Leave the part out for "
        "this base."
    )


def test_a_reduction_that_leaves_nothing_is_refused():
    with pytest.raises(OptionError) as refusal:
        build(reduction=5)
    assert str(refusal.value) == (
        "The part 'invertible' has reduction=5, which leaves no width of a size of 4. Expected a number from 0.125 "
        "to 4. Choose a smaller reduction."
    )
