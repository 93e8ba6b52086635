"""Grafts of LoRA or (IA)3 as folders that PEFT reads."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from polygraft.base.projections import find_projection
from polygraft.errors import GraftError
from polygraft.interop.heads import write_plain_head
from polygraft.interop.named_tensors import write_safetensors
from polygraft.interop.peft import CONFIG, OBJECTIVES, PREFIX, WEIGHTS, Map, list_maps
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
    "fan_in_fan_out": False,
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
    config, tensors = _write_lora(base, graft, maps) if kind == Lora.kind else _write_ia3(graft, maps)
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
        "modules_to_save": list(dict.fromkeys(name.partition(".")[0] for name in head)) or None,
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


def _check_once(graft: Graft, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise GraftError(
            f"The graft '{graft.name}' has two parts beside '{twice[0]}'. Expected one beside each map, as PEFT has. "
            "Export another graft."
        )


def _write_lora(
    base: Base, graft: Graft, maps: Mapping[tuple[int, str], Map]
) -> tuple[dict[str, object], dict[str, Tensor]]:
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    names: list[str] = []
    for layers in graft.layers.children():
        if not isinstance(layers, LoraLayers):
            continue
        for layer, role in layers.list_outputs():
            name, own = _find_name(graft, maps[layer, role]), layers.find_layer((layer, role))
            names.append(name)
            ranks[name], alphas[name] = layers.options.rank, layers.options.alpha
            tensors[f"{name}.lora_A.weight"] = own.A.detach()
            tensors[f"{name}.lora_B.weight"] = own.B.detach()
            if own.magnitude is not None:
                weight = find_projection(base.sites, layer=layer, role=role).weight.detach().float()
                tensors[f"{name}.lora_magnitude_vector"] = own.magnitude.detach() + weight.norm(dim=1)
    _check_once(graft, names)
    first = next(part for part in graft.parts if isinstance(part, Lora))
    config: dict[str, object] = {
        "alpha_pattern": {name: alpha for name, alpha in alphas.items() if alpha != first.alpha},
        "bias": "none",
        "init_lora_weights": True,
        "lora_alpha": first.alpha,
        "lora_bias": False,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": first.rank,
        "rank_pattern": {name: rank for name, rank in ranks.items() if rank != first.rank},
        "target_modules": names,
        "use_dora": first.dora,
        "use_rslora": first.rslora,
    }
    return config, tensors


def _write_ia3(
    graft: Graft, maps: Mapping[tuple[int, str], Map]
) -> tuple[dict[str, object], dict[str, Tensor]]:
    tensors: dict[str, Tensor] = {}
    outputs: list[str] = []
    inputs: list[str] = []
    for layers in graft.layers.children():
        if not isinstance(layers, IA3Layers):
            continue
        for places, rows, names in (
            (layers.list_outputs(), layers.outputs, outputs),
            (layers.list_inputs(), layers.inputs, inputs),
        ):
            for layer, role in places:
                name = _find_name(graft, maps[layer, role])
                factors = rows[str(layer)].get_parameter(role).detach()
                names.append(name)
                tensors[f"{name}.ia3_l"] = factors[:, None] if names is outputs else factors[None]
    _check_once(graft, [*outputs, *inputs])
    config: dict[str, object] = {
        "feedforward_modules": inputs,
        "init_ia3_weights": True,
        "peft_type": "IA3",
        "target_modules": [*outputs, *inputs],
    }
    return config, tensors


def _find_name(graft: Graft, found: Map) -> str:
    if not found.is_whole:
        raise GraftError(
            f"The graft '{graft.name}' stands beside '{found.role}' of layer {found.layer}, which is one of several "
            f"maps in '{found.name}'. Expected maps that are layers of their own, as PEFT has. Export a graft of "
            "another base."
        )
    return found.name
