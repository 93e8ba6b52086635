"""Biases of the base that PEFT trained beside a LoRA, as differences to the base's own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polygraft.base.weights import list_weights
from polygraft.errors import GraftError
from polygraft.interop.peft_maps import Map
from polygraft.parts.bitfit import BitFitLayers

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base

NONE, ALL, TARGETS = "none", "all", "lora_only"
"""What a configuration calls no biases, all of the model, and those of the layers that a LoRA stands beside."""
WRAPPED = ".base_layer.bias"
"""The end of a bias's name where a LoRA stands beside its layer."""
COPIES = (".original_module.", ".modules_to_save.")
"""What the names of a head's biases have in them that are in a file once more."""


def list_biases(base: Base, kind: str, maps: Collection[Map]) -> tuple[str, ...]:
    """List the biases of a base that are trained with a LoRA.

    Args:
        base: The base.
        kind: ALL or TARGETS; NONE gives none.
        maps: What the LoRA stands beside.
    """
    if kind == NONE:
        return ()
    names = [info.name for info in list_weights(base) if info.name.endswith("bias")]
    targets = {f"{each.name}.bias" for each in maps}
    return tuple(name for name in names if kind == ALL or name in targets)


def rename_biases(encoder: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of a file with the base's own names for biases."""
    return {
        f"{name.removesuffix(WRAPPED)}.bias" if name.endswith(WRAPPED) else name: tensor
        for name, tensor in encoder.items()
    }


def subtract_biases(base: Base, names: Sequence[str], encoder: Mapping[str, Tensor]) -> Tensor:
    """Give what a part `bitfit` learned: by how much the biases of a file differ from the base's own, end to end.

    Args:
        base: The base.
        names: The biases, in the base's order.
        encoder: The tensors of the file.
    """
    own = dict(base.model.named_parameters())
    return torch.cat([encoder[name].flatten() - own[name].detach().float().cpu().flatten() for name in names])


def write_biases(base: Base, graft: Graft, maps: Collection[Map]) -> tuple[str, dict[str, Tensor]]:
    """Give what a configuration says of a graft's biases, and their values by name.

    Args:
        base: The base.
        graft: The graft.
        maps: What its LoRA stands beside.

    Raises:
        GraftError: They are others than PEFT trains together.
    """
    parts = graft.list_layers(BitFitLayers)
    if not parts:
        return NONE, {}
    names = [name for layers in parts for name in layers.names]
    kind = next(
        (kind for kind in (ALL, TARGETS) if sorted(names) == sorted(list_biases(base, kind, maps))), None
    )
    if kind is None:
        raise GraftError(
            f"The graft '{graft.name}' has differences to {len(names)} weights, such as '{names[0]}'. Expected those "
            "to all biases of the base, or to those of all layers that its LoRA stands beside, which are what PEFT "
            "trains with it. Export another graft."
        )
    own = dict(base.model.named_parameters())
    wrapped = {f"{each.name}.bias" for each in maps}
    found: dict[str, Tensor] = {}
    for layers in parts:
        for name in layers.names:
            change = layers.values.detach()[layers.find_span(name)].view_as(own[name])
            there = f"{name.removesuffix('.bias')}{WRAPPED}" if name in wrapped else name
            found[there] = own[name].detach().float() + change
    return kind, found
