"""Grafts as folders that PEFT reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polygraft.errors import GraftError
from polygraft.interop.heads import write_plain_head
from polygraft.interop.named_tensors import write_safetensors
from polygraft.interop.peft import CONFIG, PREFIX, WEIGHTS
from polygraft.interop.peft_bias import write_biases
from polygraft.interop.peft_heads import list_saved, name_task
from polygraft.interop.peft_linear import IA3_FACTORS
from polygraft.interop.peft_maps import Map, list_maps
from polygraft.interop.peft_prompt import MODEL, VALUES
from polygraft.interop.peft_prompt_export import write_prefix, write_prompt
from polygraft.interop.peft_slices import LoraSlice, Place, check_once, join_rows, merge_slices
from polygraft.parts.bitfit import BitFit
from polygraft.parts.head import Head
from polygraft.parts.ia3 import IA3, IA3Layers
from polygraft.parts.lora import Lora, LoraLayers
from polygraft.parts.prefix import Prefix
from polygraft.parts.prompt import Prompt
from polygraft.types import TEXT_OBJECTIVES

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base

VERSION = "0.21.2"
"""The release whose keys and meanings the files have."""
ABOUT: Mapping[str, object] = {
    "auto_mapping": None,
    "inference_mode": True,
    "peft_version": VERSION,
    "revision": None,
}
ABOUT_LAYERS: Mapping[str, object] = {"exclude_modules": None}
KINDS = (
    [Lora.kind],
    [Lora.kind, BitFit.kind],
    [BitFit.kind, Lora.kind],
    [IA3.kind],
    [Prompt.kind],
    [Prefix.kind],
)
"""What parts a graft may have beside a head."""


def export_peft(base: Base, graft: Graft, folder: Path) -> list[Path]:
    """Write a graft as PEFT does, with a head for labels if it has one: of LoRA, of (IA)3, a prompt or a prefix.

    Args:
        base: The base that it is for.
        graft: The graft.
        folder: Where the files go; it is made if it is not there.

    Returns:
        The files.

    Raises:
        GraftError: The graft has parts or options that PEFT does not know in one folder.
    """
    kind = _check_parts(graft)
    head = write_plain_head(base, graft)
    if kind in (Prompt.kind, Prefix.kind):
        config, values = (write_prompt if kind == Prompt.kind else write_prefix)(base, graft)
        tensors = {VALUES: values, **{f"{MODEL}{name}": tensor for name, tensor in head.items()}}
    else:
        config, linear = _write_linear(base, graft, kind)
        prefix = f"{PREFIX}{base.model.base_model_prefix}." if head else PREFIX
        tensors = {
            **{f"{prefix}{name}": tensor for name, tensor in linear.items()},
            **{f"{PREFIX}{name}": tensor for name, tensor in head.items()},
        }
    document = {
        **ABOUT,
        **config,
        "base_model_name_or_path": base.name,
        "modules_to_save": list_saved(base, head) or None,
        "task_type": name_task(graft),
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / CONFIG).write_text(text, encoding="utf-8")
    write_safetensors(folder / WEIGHTS[0], tensors)
    return [folder / CONFIG, folder / WEIGHTS[0]]


def _check_parts(graft: Graft) -> str:
    """Give the kind of part that a graft is made of, or refuse what PEFT would read as something else."""
    kinds = list(dict.fromkeys(part.kind for part in graft.parts if not isinstance(part, Head)))
    pieces = [
        part.objective for part in graft.parts if isinstance(part, Head) and part.objective in TEXT_OBJECTIVES
    ]
    if kinds not in KINDS or pieces:
        listed = ", ".join([*kinds, *(f"head for {TEXT_OBJECTIVES[each]}" for each in pieces)]) or "head"
        raise GraftError(
            f"The graft '{graft.name}' has the parts {listed}, which are not written for PEFT. Expected parts 'lora', "
            "with 'bitfit' or without, or parts 'ia3', or a 'prompt', or a 'prefix', and a head for labels or none. "
            "Export another graft."
        )
    shared = {(part.rslora, part.dora) for part in graft.parts if isinstance(part, Lora)}
    if len(shared) > 1:
        raise GraftError(
            f"The graft '{graft.name}' has LoRA parts that differ in rslora or dora. Expected these alike in all, as "
            "PEFT has them. Export another graft."
        )
    return next(kind for kind in kinds if kind != BitFit.kind)


def _write_linear(base: Base, graft: Graft, kind: str) -> tuple[dict[str, object], dict[str, Tensor]]:
    maps: dict[Place, Map] = {(each.layer, each.role): each for each in list_maps(base)}
    config, tensors = _write_ia3(graft, maps) if kind == IA3.kind else _write_lora(base, graft, maps)
    # The files of such bases hold transposed weights; PEFT says so, and looks for itself.
    return {**ABOUT_LAYERS, **config, "fan_in_fan_out": base.sites.family.has_transposed_weights}, tensors


def _write_lora(
    base: Base, graft: Graft, maps: Mapping[Place, Map]
) -> tuple[dict[str, object], dict[str, Tensor]]:
    found = [
        LoraSlice(place=maps[place], layer=layers.find_layer(place), options=layers.options)
        for layers in graft.list_layers(LoraLayers)
        for place in layers.list_outputs()
    ]
    merged = merge_slices(graft, found, maps)
    first = next(iter(merged.values()))
    tensors = {
        f"{name}.{end}": tensor for name, each in merged.items() for end, tensor in each.tensors.items()
    }
    targets = [each for each in maps.values() if each.name in merged]
    bias, biases = write_biases(base, graft, targets)
    config: dict[str, object] = {
        "alpha_pattern": {name: each.alpha for name, each in merged.items() if each.alpha != first.alpha},
        "bias": bias,
        "init_lora_weights": True,
        "lora_alpha": first.alpha,
        "lora_bias": False,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": first.rank,
        "rank_pattern": {name: each.rank for name, each in merged.items() if each.rank != first.rank},
        "target_modules": list(merged),
        "use_dora": found[0].options.dora,
        "use_rslora": found[0].options.rslora,
    }
    return config, {**tensors, **biases}


def _write_ia3(graft: Graft, maps: Mapping[Place, Map]) -> tuple[dict[str, object], dict[str, Tensor]]:
    outputs: dict[str, dict[Place, Tensor]] = {}
    inputs: dict[str, Tensor] = {}
    places: list[Place] = []
    for layers in graft.list_layers(IA3Layers):
        places += [*layers.list_outputs(), *layers.list_inputs()]
        for layer, role in layers.list_outputs():
            factors = layers.outputs[str(layer)].get_parameter(role).detach()
            outputs.setdefault(maps[layer, role].name, {})[layer, role] = factors
        for layer, role in layers.list_inputs():
            inputs[_find_own_input(graft, maps[layer, role])] = (
                layers.inputs[str(layer)].get_parameter(role).detach()
            )
    check_once(graft, [maps[place] for place in places])
    tensors = {f"{name}.{IA3_FACTORS}": factors[None] for name, factors in inputs.items()}
    for name, found in outputs.items():
        rows = {place: factors[:, None] for place, factors in found.items()}
        # A factor of one leaves what it multiplies as it is.
        tensors[f"{name}.{IA3_FACTORS}"] = join_rows(
            rows, maps, missing=lambda _, like: torch.ones_like(like)
        )
    config: dict[str, object] = {
        "feedforward_modules": list(inputs),
        "init_ia3_weights": True,
        "peft_type": "IA3",
        "target_modules": [*outputs, *inputs],
    }
    return config, tensors


def _find_own_input(graft: Graft, found: Map) -> str:
    if not found.is_whole:
        raise GraftError(
            f"The graft '{graft.name}' multiplies what '{found.role}' of layer {found.layer} reads, which is one of "
            f"several maps in '{found.name}'. Expected a map that is a layer of its own, as PEFT has. Export another "
            "graft."
        )
    return found.name
