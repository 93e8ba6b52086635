"""Grafts of LoRA or (IA)3 as folders that PEFT reads."""

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
from polygraft.interop.peft import CONFIG, OBJECTIVES, PREFIX, WEIGHTS
from polygraft.interop.peft_linear import IA3_FACTORS
from polygraft.interop.peft_maps import Map, list_maps
from polygraft.interop.peft_slices import LoraSlice, Place, check_once, join_rows, merge_slices
from polygraft.parts.head import Head
from polygraft.parts.ia3 import IA3, IA3Layers
from polygraft.parts.lora import Lora, LoraLayers

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base

VERSION = "0.21.2"
"""The release whose keys and meanings the files have."""
ABOUT: Mapping[str, object] = {
    "auto_mapping": None,
    "exclude_modules": None,
    "inference_mode": True,
    "peft_version": VERSION,
    "revision": None,
}


def export_peft(base: Base, graft: Graft, folder: Path) -> list[Path]:
    """Write a graft of LoRA parts or of (IA)3 parts, with a head for labels if it has one, as PEFT does.

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
    maps = {(each.layer, each.role): each for each in list_maps(base)}
    config, tensors = _write_lora(graft, maps) if kind == Lora.kind else _write_ia3(graft, maps)
    head = write_plain_head(base, graft)
    head_part = next((part for part in graft.parts if isinstance(part, Head)), None)
    prefix = PREFIX if head_part is None else f"{PREFIX}{base.model.base_model_prefix}."
    task = next(
        (task for task, scored in OBJECTIVES.items() if head_part and scored == head_part.objective), None
    )
    document = {
        **ABOUT,
        **config,
        "base_model_name_or_path": base.name,
        "fan_in_fan_out": base.sites.family.has_transposed_weights,
        "modules_to_save": _list_saved(base, head) or None,
        "task_type": task or "FEATURE_EXTRACTION",
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / CONFIG).write_text(text, encoding="utf-8")
    named = {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
    write_safetensors(
        folder / WEIGHTS[0], {**named, **{f"{PREFIX}{name}": tensor for name, tensor in head.items()}}
    )
    return [folder / CONFIG, folder / WEIGHTS[0]]


def _list_saved(base: Base, head: Mapping[str, Tensor]) -> list[str]:
    """List the layers of a head, each once: a pooler stands in the encoder."""
    names = [name.removeprefix(f"{base.model.base_model_prefix}.").partition(".")[0] for name in head]
    return list(dict.fromkeys(names))


def _check_parts(graft: Graft) -> str:
    """Give the kind of part that a graft is made of, or refuse what PEFT would read as something else."""
    kinds = list(dict.fromkeys(part.kind for part in graft.parts if not isinstance(part, Head)))
    masked = any(isinstance(part, Head) and part.objective == "mlm" for part in graft.parts)
    if kinds not in ([Lora.kind], [IA3.kind]) or masked:
        listed = ", ".join([*kinds, *(["head for masked-LM"] if masked else [])]) or "head"
        raise GraftError(
            f"The graft '{graft.name}' has the parts {listed}, which are not written for PEFT. Expected parts 'lora' "
            "or parts 'ia3', with a head for labels or without. Export another graft."
        )
    shared = {(part.rslora, part.dora) for part in graft.parts if isinstance(part, Lora)}
    if len(shared) > 1:
        raise GraftError(
            f"The graft '{graft.name}' has LoRA parts that differ in rslora or dora. Expected these alike in all, as "
            "PEFT has them. Export another graft."
        )
    return kinds[0]


def _write_lora(graft: Graft, maps: Mapping[Place, Map]) -> tuple[dict[str, object], dict[str, Tensor]]:
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
    config: dict[str, object] = {
        "alpha_pattern": {name: each.alpha for name, each in merged.items() if each.alpha != first.alpha},
        "bias": "none",
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
    return config, tensors


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
