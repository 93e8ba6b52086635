"""Grafts as folders that AdapterHub's library reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polygraft.errors import GraftError
from polygraft.interop.adapterhub import CONFIG, HEAD_CONFIG, HEAD_WEIGHTS, WEIGHTS
from polygraft.interop.adapterhub_fusion import FUSION_CONFIG, FUSION_WEIGHTS, write_fusion_options
from polygraft.interop.adapterhub_heads_export import CLASS_ENDS, write_flexible_head, write_static_head
from polygraft.interop.adapterhub_names import find_places, write_name
from polygraft.interop.adapterhub_prefix import add_copies
from polygraft.interop.adapterhub_write import check_parts, write_configuration
from polygraft.interop.named_tensors import write_safetensors
from polygraft.parts.fusion import Fusion
from polygraft.parts.head import Head
from polygraft.parts.ia3 import IA3
from polygraft.parts.prefix import Prefix

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base

VERSION = "adapters.1.3.0"
"""The release whose keys and meanings the files have."""
MODEL_NAMES: Mapping[str, str] = {
    "bert": "Bert",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "electra": "Electra",
    "distilbert": "DistilBert",
    "deberta-v2": "DebertaV2",
}
"""How the names of that library's models begin, by a base's `model_type`."""
FLEXIBLE = "AdapterModel"
"""How the names of those end that have flexible heads."""


def export_adapterhub(
    base: Base,
    graft: Graft,
    folder: Path,
    *,
    safetensors: bool = False,
    static_head: bool = False,
    members: Sequence[str] | None = None,
) -> list[Path]:
    """Write a graft as AdapterHub does: an adapter, a head, or both, or a fusion.

    Args:
        base: The base that it is for.
        graft: The graft; the adapter and the head, or the fusion, get its name.
        folder: Where the files go; it is made if it is not there.
        safetensors: Whether to write safetensors, which that library reads with `use_safetensors=True` only.
        static_head: Whether to write the head of a model of `transformers`, such as `BertForTokenClassification`, and
            not a flexible one.
        members: Names of the adapters that a fusion mixes, in their order; None takes them from the plan that the graft
            was trained under.

    Returns:
        The files.

    Raises:
        DataError: That library has no adapters in bases of the family.
        GraftError: The graft has parts or options that it does not know.
    """
    check_parts(base, graft)
    places = find_places(base.sites.family.name)
    about = _describe_base(base, graft, static_head=static_head)
    tensors = {
        theirs: _fit(own, tensor)
        for own, tensor in graft.tensors().items()
        if (theirs := write_name(own, name=graft.name, places=places)) is not None
    }
    prefix, files = f"{base.model.base_model_prefix}.", list[_File]()
    fusion = next((part for part in graft.parts if isinstance(part, Fusion)), None)
    if fusion is not None:
        document = about | write_fusion_options(fusion, graft, members=members)
        files.append(_File(FUSION_CONFIG, document, FUSION_WEIGHTS, tensors))
    elif tensors:
        document = {**about, "config": write_configuration(base, graft)}
        files.append(_File(CONFIG, document, WEIGHTS, add_copies(tensors, base=base, places=places)))
    files = [
        replace(file, tensors={f"{prefix}{theirs}": tensor for theirs, tensor in file.tensors.items()})
        for file in files
    ]
    head = next((part for part in graft.parts if isinstance(part, Head)), None)
    if head is not None and static_head:
        document, tensors = write_static_head(base, graft, head)
        files.append(_File(HEAD_CONFIG, {**about, **document}, HEAD_WEIGHTS, tensors))
    elif head is not None:
        document, tensors = write_flexible_head(base, graft, head)
        files.append(_File(HEAD_CONFIG, {**about, "config": document}, HEAD_WEIGHTS, tensors))
    folder.mkdir(parents=True, exist_ok=True)
    return [path for file in files for path in _write(folder, file, safetensors=safetensors)]


@dataclass(frozen=True)
class _File:
    """A configuration and the tensors beside it."""

    config: str
    document: Mapping[str, object]
    weights: tuple[str, str]
    tensors: Mapping[str, Tensor]


def _write(folder: Path, file: _File, *, safetensors: bool) -> list[Path]:
    text = json.dumps(file.document, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / file.config).write_text(text, encoding="utf-8")
    path = folder / file.weights[0 if safetensors else 1]
    if safetensors:
        write_safetensors(path, file.tensors)
    else:
        torch.save({name: tensor.detach().cpu().clone() for name, tensor in file.tensors.items()}, path)
    return [folder / file.config, path]


def _describe_base(base: Base, graft: Graft, *, static_head: bool) -> dict[str, object]:
    kind = str(base.model.config.model_type)
    if kind not in MODEL_NAMES:
        raise GraftError(
            f"The graft '{graft.name}' is for a base of the type {kind}, in which AdapterHub has no adapters that are "
            f"known here. Expected one of {', '.join(MODEL_NAMES)}. Export a graft of such a base."
        )
    head = next((part for part in graft.parts if isinstance(part, Head)), None)
    end = CLASS_ENDS[head.objective] if head is not None and static_head else FLEXIBLE
    return {
        "hidden_size": base.sites.hidden,
        "model_class": f"{MODEL_NAMES[kind]}{end}",
        "model_name": base.name,
        "model_type": kind,
        "name": graft.name,
        "version": VERSION,
    }


def _fit(own: str, tensor: Tensor) -> Tensor:
    """Give a tensor as that library's file holds it: factors as a column, plain values of a prefix as one row."""
    if own.startswith(f"{IA3.kind}."):
        return tensor[:, None]
    return tensor.flatten() if own == f"{Prefix.kind}.source.values" else tensor
