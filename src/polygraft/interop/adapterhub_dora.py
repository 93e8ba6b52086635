"""AdapterHub's DoRA: lengths that leave the scale out, and rows whose biases are multiplied, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polygraft.base.projections import find_projection
from polygraft.parts.bitfit import BitFit, BitFitLayers
from polygraft.parts.lora import Lora, LoraLayers

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base
    from polygraft.interop.adapterhub_names import Places

DORA_NOTE = (
    "That library's DoRA multiplies its maps' biases, too, and leaves the scale out of its lengths: here a bitfit does "
    "the first, and the lengths were converted. What is computed is the same; trained on, it would go another way."
)


def list_biases(base: Base, part: Lora, places: Places) -> list[BitFit]:
    """Give the part that does to the biases of maps what that library's DoRA does; none without biases.

    Args:
        base: The base.
        part: The LoRA.
        places: Where the maps of a layer are.
    """
    own = {name for name, _ in base.model.named_parameters()}
    patterns = (f"*.{places.maps[role]}.bias" for role in part.roles if part.dora)
    found = tuple(pattern for pattern in patterns if any(name.endswith(pattern[1:]) for name in own))
    return [BitFit(weights=found, skip_layers=part.skip_layers)] if found else []


def convert_dora(base: Base, graft: Graft, own: Mapping[str, Tensor], *, places: Places) -> dict[str, Tensor]:
    """Give the tensors of a graft with DoRA so that they do here what they do there.

    With m the lengths in the file, s the scale, W and b a map's own, row by row: there it is
    `m / |W + B A| * (W x + b + s B A x)`, and here `(|W| + m') / |W + s B A| * (W x + s B A x) + b + d`.

    Args:
        base: The base.
        graft: The graft, with its values not filled in yet.
        own: Its tensors as in the file, by its own names; the differences d are not there.
        places: Where the maps of a layer are.
    """
    done = dict(own)
    biases = {
        key: layers for key, layers in graft.layers.named_children() if isinstance(layers, BitFitLayers)
    }
    done |= {f"{key}.values": torch.zeros(layers.starts[-1]) for key, layers in biases.items()}
    spans = {name: (key, layers.find_span(name)) for key, layers in biases.items() for name in layers.names}
    for key, layers in graft.layers.named_children():
        if not isinstance(layers, LoraLayers) or not layers.options.dora:
            continue
        for layer, role in layers.places:
            here = f"{key}.layers.{layer}.{role}"
            found = find_projection(base.sites, layer=layer, role=role)
            weight = found.weight.detach().float().cpu()
            product = own[f"{here}.B"] @ own[f"{here}.A"]
            factor = own[f"{here}.magnitude"] / (weight + product).norm(dim=1)
            after = (weight + layers.options.scale * product).norm(dim=1)
            done[f"{here}.magnitude"] = factor * after - weight.norm(dim=1)
            if found.bias is not None:
                end = f"{places.layers}.{layer}.{places.maps[role]}.bias"
                values, span = next(spans[name] for name in spans if name.endswith(end))
                done[f"{values}.values"][span] = (factor - 1) * found.bias.detach().float().cpu()
    return done
