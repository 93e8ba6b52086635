from __future__ import annotations

import pytest
from tests.tiny import make_base

from polygraft.attach.graft import measure_base
from polygraft.errors import OptionError
from polygraft.parts.delta import Delta
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
