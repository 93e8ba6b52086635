"""Grafts that are alike, so that they can be merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from tests.tiny import make_trained_graft
from tests.weights import WEIGHTS, draw_masks, draw_values
from torch import Tensor

from polygraft.attach.arithmetic import average_grafts
from polygraft.attach.graft import Graft
from polygraft.attach.sparse import (
    ValueFormat,
    find_edit,
    make_delta,
    make_mask,
    read_values,
)
from polygraft.base.base import Base
from polygraft.errors import GraftError
from polygraft.parts.bitfit import BitFit
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.compacter import Compacter
from polygraft.parts.delta import Delta, DeltaLayers
from polygraft.parts.fusion import Fusion
from polygraft.parts.glow import Glow
from polygraft.parts.head import Head
from polygraft.parts.ia3 import IA3
from polygraft.parts.invertible import Invertible
from polygraft.parts.part import Part
from polygraft.parts.prefix import Prefix

LABELS = ("O", "B-LOC", "I-LOC")
PARTS: Mapping[str, Sequence[Part]] = {
    "language": [Bottleneck(reduction=2), Invertible(reduction=2)],
    "houlsby": [Bottleneck(reduction=4, placement="attention+ffn")],
    "tokens": [Bottleneck(reduction=8), Head(objective="tokens", labels=LABELS)],
    "sequence": [Head(objective="sequence", labels=LABELS)],
    "mlm": [Head(objective="mlm")],
    "whole delta": [Delta(weights=("linear", "norm"))],
    "compacter": [Compacter(reduction=4, terms=2)],
    "glow": [Bottleneck(reduction=2), Glow()],
    "prefix": [Prefix(length=3, reparameterization=None)],
    "fusion": [Fusion()],
    "bitfit": [BitFit()],
    "ia3": [IA3()],
    "delta and head": [Delta(), Head(objective="tokens", labels=LABELS)],
}


def make_two(base: Base, kind: str) -> list[Graft]:
    return [make_trained_graft(base, name, PARTS[kind], seed=seed) for seed, name in enumerate("ab")]


def make_deltas(base: Base, num: int = 2, *, dtype: ValueFormat = "float32") -> list[Graft]:
    """Deltas over different places."""
    masks = [draw_masks(base, 0.1 + 0.2 * seed, seed=seed) for seed in range(num)]
    return [
        make_delta(
            base, f"d{seed}", mask, weights=WEIGHTS, values=draw_values(mask, seed=seed + 7), dtype=dtype
        )
        for seed, mask in enumerate(masks)
    ]


def make_masks(base: Base, num: int = 2) -> list[Graft]:
    """Masks over the same places with values of their own."""
    kept = draw_masks(base, 0.4, seed=5)
    return [
        make_mask(base, f"m{seed}", kept, weights=WEIGHTS, values=draw_values(kept, seed=seed))
        for seed in range(num)
    ]


def read_dense(graft: Graft) -> dict[str, Tensor]:
    return read_values(find_edit(graft, DeltaLayers))


def assert_equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    """Equal bit for bit, under the same names."""
    assert a.keys() == b.keys()
    assert [name for name in a if a[name].numpy().tobytes() != b[name].numpy().tobytes()] == []


def refuse(base: Base, grafts: Sequence[Graft]) -> str:
    """The sentence that refuses their mean."""
    with pytest.raises(GraftError) as caught:
        average_grafts(base, "mean", grafts)
    return str(caught.value)
