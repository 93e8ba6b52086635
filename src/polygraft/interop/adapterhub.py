"""Adapters and heads of AdapterHub (Pfeiffer et al. 2020a) as grafts.

A folder has adapter_config.json with pytorch_adapter.bin or adapter.safetensors, head_config.json with
pytorch_model_head.bin or model_head.safetensors, or both; that of a fusion has adapter_fusion_config.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from polygraft.attach.graft import copy_tensors, make_graft
from polygraft.errors import DataError, GraftError
from polygraft.interop.adapterhub_fusion import FUSION_CONFIG, PLACEMENT_NOTE, read_fusion
from polygraft.interop.adapterhub_heads import read_head
from polygraft.interop.adapterhub_linear import read_factors, read_linear_options
from polygraft.interop.adapterhub_names import check_names, find_places, simplify_name, write_name
from polygraft.interop.adapterhub_options import lower_keys, read_bottleneck_options
from polygraft.interop.adapterhub_prefix import check_family, drop_copies, read_prefix_options
from polygraft.interop.heads import HeadTensors
from polygraft.interop.imported import Imported, Origin
from polygraft.interop.named_tensors import read_tensors
from polygraft.interop.options import Options
from polygraft.interop.source import Source, open_source
from polygraft.parts.ia3 import IA3
from polygraft.parts.invertible import Invertible
from polygraft.parts.part import Part
from polygraft.parts.prefix import Prefix
from polygraft.store.fields import JsonValue

if TYPE_CHECKING:
    from polygraft.base.base import Base

LIBRARY = "adapterhub"
CONFIG = "adapter_config.json"
WEIGHTS = ("adapter.safetensors", "pytorch_adapter.bin")
HEAD_CONFIG = "head_config.json"
HEAD_WEIGHTS = ("model_head.safetensors", "pytorch_model_head.bin")
ABOUT = ("model_class", "model_name", "hidden_size", "config_id", "label2id", "num_labels", "prediction_head")
"""What adapter_config.json says of the model that an adapter was part of."""


@dataclass(frozen=True, kw_only=True)
class _Adapter:
    name: str
    parts: list[Part]
    tensors: Mapping[str, Tensor]
    """By the names of this release for a bare encoder."""
    num_stored: int
    """How many tensors the file has, copies of one network too."""
    notes: tuple[str, ...]


def import_adapterhub(base: Base, path: Path, *, name: str, with_head: bool = True) -> Imported:
    """Read an adapter, with the head beside it, or a head or a fusion alone.

    Args:
        base: The base that it was trained on.
        path: Its folder, or a zip of it.
        name: What plans are to call the graft.
        with_head: Whether to take the head that is beside an adapter.

    Raises:
        DataError: A file is damaged, or asks for what no part does.
        GraftError: It was made for another kind of base.
    """
    source = open_source(path)
    if source.has(FUSION_CONFIG) and not source.has(CONFIG):
        return _import_fusion(base, source, name=name)
    config = source.read_json(CONFIG) if source.has(CONFIG) else None
    has_head = source.has(HEAD_CONFIG) and (with_head or config is None)
    head_config = source.read_json(HEAD_CONFIG) if has_head else None
    if config is None and head_config is None:
        # Says that the first is not there.
        source.read(CONFIG)
    for file, values in ((CONFIG, config), (HEAD_CONFIG, head_config)):
        if values is not None:
            _check_base(base, values, where=f"{source.where}/{file}")
    adapter = None if config is None else _read_adapter(base, source, config)
    head: HeadTensors | None = None
    num_tensors = 0 if adapter is None else adapter.num_stored
    if head_config is not None:
        stored = read_tensors(source, names=HEAD_WEIGHTS)
        num_tensors += len(stored)
        head = read_head(base, head_config, stored, where=source.where)
    parts = [*([] if adapter is None else adapter.parts), *([] if head is None else [head.part])]
    graft = make_graft(base, name, parts)
    own: dict[str, Tensor] = {} if head is None else head.named()
    if adapter is not None:
        places = find_places(base.sites.family.name)
        wanted = {
            theirs: ours
            for ours in graft.tensors()
            if (theirs := write_name(ours, name=adapter.name, places=places)) is not None
        }
        check_names(adapter.tensors, wanted, where=source.where)
        own |= {wanted[theirs]: tensor for theirs, tensor in adapter.tensors.items()}
    try:
        copy_tensors(graft, own)
    except GraftError as error:
        error.add_note(f"It was to be made of {source.where}.")
        raise
    graft.layers.requires_grad_(False)
    about = config if config is not None else head_config or {}
    origin = Origin(
        library=LIBRARY,
        version=_find_text(about, "version"),
        made_for=_find_text(about, "model_name"),
        num_tensors=num_tensors,
        digests=dict(source.digests),
        notes=() if adapter is None else adapter.notes,
    )
    return Imported(graft=graft, origin=origin)


def _import_fusion(base: Base, source: Source, *, name: str) -> Imported:
    config = source.read_json(FUSION_CONFIG)
    _check_base(base, config, where=f"{source.where}/{FUSION_CONFIG}")
    read = read_fusion(base, source, config)
    graft = make_graft(base, name, [read.part])
    try:
        copy_tensors(graft, read.tensors)
    except GraftError as error:
        error.add_note(f"It was to be made of {source.where}.")
        raise
    graft.layers.requires_grad_(False)
    origin = Origin(
        library=LIBRARY,
        version=_find_text(config, "version"),
        made_for=_find_text(config, "model_name"),
        num_tensors=len(read.tensors),
        digests=dict(source.digests),
        notes=(PLACEMENT_NOTE,) if read.part.placement == "ffn" else (),
        members=read.members,
    )
    return Imported(graft=graft, origin=origin)


def _find_text(values: Mapping[str, JsonValue], key: str) -> str | None:
    value = values.get(key)
    return value if isinstance(value, str) and value else None


def _check_base(base: Base, config: Mapping[str, JsonValue], *, where: str) -> None:
    kind, hidden = config.get("model_type"), config.get("hidden_size")
    own = str(base.model.config.model_type)
    if kind is not None and kind != own:
        raise GraftError(
            f"{where} is of an adapter for a base of the type {kind}, and '{base.name}' is of the type {own}. Expected "
            "one type. Import it on the base that it was trained on."
        )
    if hidden is not None and hidden != base.sites.hidden:
        raise GraftError(
            f"{where} is of an adapter for a base of the size {hidden}, and '{base.name}' has the size "
            f"{base.sites.hidden}. Expected equal sizes. Import it on the base that it was trained on."
        )


def _read_adapter(base: Base, source: Source, config: Mapping[str, JsonValue]) -> _Adapter:
    options = Options(config, where=f"{source.where}/{CONFIG}")
    options.ignore(*ABOUT, "model_type", "version")
    name, kind = options.text("name"), options.text("type")
    values = options.mapping("config")
    options.close()
    if not name or values is None:
        raise DataError(
            f"{source.where}/{CONFIG} has {'no name' if not name else 'no config'}. Expected the adapter's name and "
            "its configuration. Get the file again from where it was made."
        )
    inner = Options(lower_keys(values, where=options.where), where=f"{options.where}, config")
    # Only factors are multiplied by it; of a LoRA it is an option.
    alpha = float(inner.number("alpha", 1)) if inner.values.get("composition_mode") == "scale" else 1.0
    parts = _read_parts(base, inner, has_version="version" in config)
    stored = read_tensors(source, names=WEIGHTS)
    tensors = {simplify_name(theirs): tensor for theirs, tensor in stored.items()}
    if len(tensors) != len(stored):
        raise DataError(
            f"{source.where} has two tensors that mean the same place, one by an old name. Expected each once. Get the "
            "files again from where they were made."
        )
    tensors = _fit(parts[0], tensors, alpha=alpha, where=source.where)
    notes: tuple[str, ...] = ()
    has_invertible = any(theirs.startswith("invertible_adapters.") for theirs in tensors)
    if kind == "text_task" and not has_invertible and any(isinstance(part, Invertible) for part in parts):
        # The first releases wrote the options of an invertible part beside task adapters, which had none.
        parts = [part for part in parts if not isinstance(part, Invertible)]
        notes = (
            "Its configuration names an invertible part that adapters of tasks never had; there is none.",
        )
    return _Adapter(name=name, parts=parts, tensors=tensors, num_stored=len(stored), notes=notes)


def _read_parts(base: Base, options: Options, *, has_version: bool) -> list[Part]:
    num_layers = base.sites.num_layers
    options.expect(
        "architecture", None, "lora", "prefix_tuning", why="no adapters of that architecture are brought over"
    )
    match options.take("architecture"):
        case "lora":
            return [read_linear_options(options, num_layers=num_layers)]
        case "prefix_tuning":
            family = base.sites.family.name
            check_family(find_places(family), family=family)
            return [read_prefix_options(options, num_layers=num_layers, has_version=has_version)]
        case _:
            return read_bottleneck_options(
                options, num_layers=num_layers, hidden=base.sites.hidden, has_version=has_version
            )


def _fit(part: Part, tensors: dict[str, Tensor], *, alpha: float, where: str) -> dict[str, Tensor]:
    """Give the tensors of a file as the part holds them, by the library's names."""
    if isinstance(part, IA3):
        return read_factors(tensors, alpha=alpha)
    if isinstance(part, Prefix):
        kept = drop_copies(tensors, where=where)
        if part.reparameterization is None:
            return {
                name: tensor.reshape(part.length, -1) if tensor.numel() % part.length == 0 else tensor
                for name, tensor in kept.items()
            }
        return kept
    return tensors
