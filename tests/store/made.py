"""The manifest and tensors that these tests put into stores."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from polygraft.store.manifest import (
    BaseRecord,
    DataRecord,
    Manifest,
    MemberRecord,
    PartRecord,
)

MANIFEST = Manifest(
    name="ner",
    parts=(
        PartRecord(kind="bottleneck", options={"reduction": 16, "skip_layers": [11], "scale": 1.0}),
        PartRecord(kind="head", options={"labels": ["O", "B-LOC"], "dropout": None}),
    ),
    base=BaseRecord(name="tiny", fingerprint="9f31c2", revision="main"),
    tokenizer="77ab04",
    created="2026-01-31T12:00:00+00:00",
    trained_under="stack(en, ner)",
    members=(MemberRecord(name="en", version=2, sha256="ab" * 32),),
    objective="tokens",
    data=(DataRecord(name="train.conll", sha256="cd" * 32, num_examples=14041),),
    hyperparameters={"lr": 1e-4, "epochs": 10, "amp": False},
    scores={"f1": 0.875},
    curve=({"step": 10.0, "loss": 2.5}, {"step": 20.0, "loss": 1.5, "dev": 0.5}),
    cost={"seconds": 12.5},
    versions={"polygraft": "0.1.0"},
    step="e5" * 32,
)


def manifest(**changes: object) -> Manifest:
    """Give the manifest with some fields changed."""
    return replace(MANIFEST, **changes)


def tensors(value: float = 1.0) -> dict[str, Tensor]:
    """Give three small tensors, one of them filled with a value."""
    return {
        "bottleneck.0.down": torch.full((2, 3), value),
        "bottleneck.0.up": torch.arange(6, dtype=torch.bfloat16).reshape(3, 2),
        "mask.bits": torch.tensor([3, 255], dtype=torch.uint8),
    }
