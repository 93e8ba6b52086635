"""Masks and values for grafts that change weights, and what a base gives under a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from tests.tiny import make_batch
from torch import Tensor

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft, make_graft
from polygraft.attach.sparse import find_edit
from polygraft.base.base import Base
from polygraft.parts.delta import Delta, DeltaLayers
from polygraft.store.manifest import BaseRecord, Manifest, PartRecord
from polygraft.store.store import Store

WEIGHTS = ("linear", "norm")
"""What the masks are of."""


def draw_masks(base: Base, density: float, *, seed: int) -> dict[str, Tensor]:
    """Random masks of linear layers and norms."""
    generator = torch.Generator().manual_seed(seed)
    layers = find_edit(make_graft(base, "all", [Delta(weights=WEIGHTS)]), DeltaLayers)
    return {info.name: torch.rand(info.shape, generator=generator) < density for info in layers.infos}


def draw_values(masks: Mapping[str, Tensor], *, seed: int) -> dict[str, Tensor]:
    """Random values of the masks' shapes."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(mask.shape, generator=generator) * 0.3 for name, mask in masks.items()}


def run(base: Base, plan: str | None = None, grafts: Sequence[Graft] = ()) -> Tensor:
    """Hidden states of a small batch, without its padding."""
    batch = make_batch()
    with torch.no_grad(), attach(base, plan, grafts=grafts) as attachment:
        return attachment.run(*batch)[batch.attention_mask == 1]


def put(store: Store, base: Base, graft: Graft) -> Manifest:
    """Store a graft that was not trained."""
    return store.put(
        Manifest(
            name=graft.name,
            parts=tuple(PartRecord(kind=part.kind, options=part.to_options()) for part in graft.parts),
            base=BaseRecord(name=base.name, fingerprint=base.fingerprint, revision=None),
            tokenizer=base.tokenizer_fingerprint,
            created="2026-01-31T12:00:00+00:00",
        ),
        graft.tensors(),
    )
