from __future__ import annotations

import pytest
import torch
from tests.tiny import make_base
from torch import nn

from polygraft.attach.graft import make_graft, measure_base
from polygraft.attach.sparse import find_edit
from polygraft.errors import OptionError
from polygraft.parts.delta import Delta, DeltaLayers
from polygraft.parts.edit import add_gradient, list_starts
from polygraft.types import WeightInfo


def find(weights: tuple[str, ...], *, skip: tuple[int, ...] = ()) -> list[WeightInfo]:
    return Delta(weights=weights, skip_layers=skip).find_weights(measure_base(make_base()))


def test_weights_are_found_by_role_and_by_pattern_in_the_bases_order():
    names = [info.name for info in find(("*.0.output.*", "*.0.attention.self.query.bias"))]
    assert names == [
        "encoder.layer.0.attention.self.query.bias",
        "encoder.layer.0.output.dense.weight",
        "encoder.layer.0.output.dense.bias",
        "encoder.layer.0.output.LayerNorm.weight",
        "encoder.layer.0.output.LayerNorm.bias",
    ]
    # Three embeddings; of three layers six linear layers and two norms each, and the norm of the embeddings.
    counts = [len(find((role,))) for role in ("linear", "bias", "norm", "embedding")]
    assert counts == [18, 18, 14, 3]


def test_layers_are_skipped_from_both_ends():
    assert {info.layer for info in find(("linear",), skip=(0, -1))} == {1}


@pytest.mark.parametrize(
    ("weights", "skip", "sentence"),
    [
        (
            ("*.1.*",),
            (1,),
            "The part 'delta' is about no weight: all 16 that *.1.* names are in the layers 1, which are left out. "
            "Leave fewer out.",
        ),
        (
            ("linear",),
            (3,),
            "The part 'delta' has skip_layers with 3, and the base has 3 layers. Expected -3 to 2. Correct the number.",
        ),
    ],
)
def test_weights_that_are_not_there_are_refused(
    weights: tuple[str, ...], skip: tuple[int, ...], sentence: str
):
    with pytest.raises(OptionError) as refused:
        find(weights, skip=skip)
    assert str(refused.value) == sentence


def test_pieces_begin_where_the_ones_before_end():
    assert list_starts([3, 0, 2]) == [0, 3, 3, 5]


def test_gradients_add_up_where_they_belong():
    values = nn.Parameter(torch.zeros(5))
    add_gradient(values, 1, torch.tensor([1.0, 2.0]))
    add_gradient(values, 2, torch.tensor([10.0]))
    assert values.grad is not None
    assert values.grad.tolist() == [0, 1, 12, 0, 0]


@pytest.mark.parametrize(("weights", "lowest"), [(("linear",), 0), (("*.2.*",), 2), (("embedding",), 0)])
def test_the_lowest_layer_is_that_of_the_weights(weights: tuple[str, ...], lowest: int):
    layers = find_edit(make_graft(make_base(), "d", [Delta(weights=weights)]), DeltaLayers)
    assert layers.lowest_layer == lowest
    assert layers.learns
