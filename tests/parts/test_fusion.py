"""The fusion against its formula, worked out place by place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polygraft.errors import OptionError
from polygraft.parts.fusion import Fusion, FusionLayers
from polygraft.parts.part import Dimensions
from polygraft.parts.reach import SublayerState

DIMENSIONS = Dimensions(num_layers=3, hidden=6, embedding=6, vocab=9)


def build(*, trained: bool = True, **options: object) -> FusionLayers:
    generator = torch.Generator().manual_seed(0)
    layers = Fusion.from_options(options).build(DIMENSIONS, generator=generator)
    if trained:
        with torch.no_grad():
            for value in layers.parameters():
                value.add_(torch.randn(value.shape, generator=generator))
    return layers


def make_state(*, norm_factor: float = 3.0) -> tuple[SublayerState, list[Tensor]]:
    generator = torch.Generator().manual_seed(1)
    h, inp, *outputs = (torch.randn(2, 4, 6, generator=generator) for _ in range(5))
    return SublayerState(h=h, origin=h, inp=inp, norm=lambda x: x * norm_factor), outputs


@pytest.mark.parametrize("placement", ["ffn", "attention+ffn"])
@torch.no_grad()
def test_a_mixture_is_what_the_formula_says(placement: str):
    layers = build(placement=placement)
    state, outputs = make_state()
    mixed = layers.mix((1, "ffn"), state, outputs)
    tensors = {name.removeprefix("layers.1.ffn."): value for name, value in layers.named_parameters()}
    for row in range(2):
        for token in range(4):
            h = state.h[row, token]
            x = 3.0 * (h + state.inp[row, token]) if placement == "ffn" else h
            query = tensors["query.weight"] @ x + tensors["query.bias"]
            added = [output[row, token] - h for output in outputs]
            scores = [query @ (tensors["key.weight"] @ u + tensors["key.bias"]) for u in added]
            weights = torch.tensor([float(score - max(scores)) for score in scores]).exp()
            weights = weights / weights.sum()
            expected = h + sum(w * (tensors["value"] @ u) for w, u in zip(weights, added, strict=True))
            assert torch.allclose(mixed[row, token], expected, atol=1e-5)


def test_a_fresh_fusion_weighs_its_members_almost_alike():
    state, outputs = make_state()
    mixed = build(trained=False).mix((0, "ffn"), state, outputs)
    mean = torch.stack(outputs).mean(0)
    assert (mixed - mean).abs().max() < 0.1
    assert not torch.equal(mixed, mean)


def test_it_stands_where_its_members_do():
    assert build().list_places() == [(0, "ffn"), (1, "ffn"), (2, "ffn")]
    both = build(placement="attention+ffn", skip_layers=[1])
    assert both.list_places() == [(0, "attention"), (0, "ffn"), (2, "attention"), (2, "ffn")]


def test_another_placement_is_refused():
    with pytest.raises(OptionError) as refused:
        Fusion.from_options({"placement": "parallel"})
    assert str(refused.value) == (
        "The part 'fusion' has placement='parallel'. Expected one of ffn, attention+ffn. Choose one."
    )
