"""Grafts that do more or less of what they do."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from polygraft.attach.graft import copy_tensors, make_graft
from polygraft.parts.bottleneck import LEARNED, Bottleneck, BottleneckLayer
from polygraft.parts.delta import DeltaLayers
from polygraft.parts.lora import Lora

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.parts.part import Part
    from polygraft.recipe.workshop import Workshop


def scale_graft(workshop: Workshop, graft: Graft, strength: float) -> Graft:
    """Give a graft whose bottlenecks, LoRAs and deltas add that many times as much."""
    if strength == 1:
        return graft
    parts = [_scale_part(part, strength) for part in graft.parts]
    scaled = make_graft(workshop.base, graft.name, parts)
    copy_tensors(scaled, graft.tensors())
    with torch.no_grad():
        for layers in scaled.layers.children():
            if isinstance(layers, DeltaLayers):
                layers.values.mul_(strength)
        for layers in scaled.layers.modules():
            if isinstance(layers, BottleneckLayer) and layers.scale is not None:
                layers.scale.mul_(strength)
    scaled.layers.requires_grad_(False)
    return scaled


def _scale_part(part: Part, strength: float) -> Part:
    """Give a part whose options say that it adds so many times as much, where options say it."""
    if isinstance(part, Bottleneck) and part.scaling != LEARNED:
        return dataclasses.replace(part, scaling=part.scale * strength)
    if isinstance(part, Lora):
        return dataclasses.replace(part, alpha=part.alpha * strength)
    return part
