"""Adapters and heads of AdapterHub (Pfeiffer et al. 2020a) as grafts.

A folder has adapter_config.json with pytorch_adapter.bin or adapter.safetensors, head_config.json with
pytorch_model_head.bin or model_head.safetensors, or both; that of a fusion has adapter_fusion_config.json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from polygraft.attach.graft import Graft, check_fit, copy_tensors, make_graft
from polygraft.errors import DataError, GraftError
from polygraft.interop.adapterhub_dora import DORA_NOTE, convert_dora
from polygraft.interop.adapterhub_fusion import FUSION_CONFIG, PLACEMENT_NOTE, read_fusion
from polygraft.interop.adapterhub_heads import read_head
from polygraft.interop.adapterhub_linear import read_column
from polygraft.interop.adapterhub_names import check_names, find_places, simplify_name, write_name
from polygraft.interop.adapterhub_parts import Piece, read_pieces
from polygraft.interop.adapterhub_prefix import drop_copies
from polygraft.interop.heads import HeadTensors
from polygraft.interop.imported import Imported, Origin
from polygraft.interop.named_tensors import read_tensors
from polygraft.interop.options import Options
from polygraft.interop.recognise import ADAPTERHUB, refuse_others
from polygraft.interop.source import Source, open_source
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.compacter import Compacter
from polygraft.parts.ia3 import IA3
from polygraft.parts.invertible import Invertible
from polygraft.parts.lora import Lora
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
    pieces: Sequence[Piece]
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
    refuse_others(source, wanted=ADAPTERHUB)
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
    parts = [] if adapter is None else [piece.part for piece in adapter.pieces]
    graft = make_graft(base, name, [*parts, *([] if head is None else [head.part])])
    own: dict[str, Tensor] = {} if head is None else head.named()
    try:
        if adapter is not None:
            own |= _fill(base, graft, adapter, where=source.where)
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
    options.ignore(*ABOUT, "model_type")
    name, kind, version = options.text("name"), options.text("type"), options.text("version")
    values = options.take("config")
    options.close()
    if not name or values is None:
        raise DataError(
            f"{source.where}/{CONFIG} has {'no name' if not name else 'no config'}. Expected the adapter's name and "
            "its configuration. Get the file again from where it was made."
        )
    pieces = read_pieces(base, values, version=version, where=options.where)
    stored = read_tensors(source, names=WEIGHTS)
    tensors = {simplify_name(theirs): tensor for theirs, tensor in stored.items()}
    if len(tensors) != len(stored):
        raise DataError(
            f"{source.where} has two tensors that mean the same place, one by an old name. Expected each once. Get the "
            "files again from where they were made."
        )
    notes: list[str] = []
    has_invertible = any(theirs.startswith("invertible_adapters.") for theirs in tensors)
    if (
        kind == "text_task"
        and not has_invertible
        and any(isinstance(each.part, Invertible) for each in pieces)
    ):
        # The first releases wrote the options of an invertible part beside task adapters, which had none.
        pieces = [each for each in pieces if not isinstance(each.part, Invertible)]
        notes.append(
            "Its configuration names an invertible part that adapters of tasks never had; there is none."
        )
    _check_activations(pieces, where=options.where)
    if any(isinstance(each.part, Lora) and each.part.dora for each in pieces):
        notes.append(DORA_NOTE)
    return _Adapter(
        name=name,
        pieces=pieces,
        tensors=drop_copies(tensors, where=source.where),
        num_stored=len(stored),
        notes=tuple(notes),
    )


def _check_activations(pieces: Sequence[Piece], *, where: str) -> None:
    """Refuse an invertible part with an activation of its own, which only the first releases wrote down."""
    own = {each.part.activation for each in pieces if isinstance(each.part, Bottleneck | Compacter)}
    for each in pieces:
        if isinstance(each.part, Invertible) and each.part.activation not in own:
            raise DataError(
                f"{where} has an invertible_adapter with the activation {each.part.activation}, and its bottlenecks "
                f"have {', '.join(sorted(own))}, which later releases of that library take for both. Expected one. "
                "Nothing says which of them it was trained with: compare with a file of a later release."
            )


def _fill(base: Base, graft: Graft, adapter: _Adapter, *, where: str) -> dict[str, Tensor]:
    """Give the tensors of an adapter by their names in the graft, as its parts hold them."""
    places = find_places(base.sites.family.name)
    wanted = {
        theirs: ours
        for ours in graft.tensors()
        if (theirs := write_name(ours, name=adapter.name, places=places)) is not None
    }
    check_names(adapter.tensors, wanted, where=where)
    # A head, which comes last, is no piece.
    pieces = dict(zip(graft.layers, adapter.pieces, strict=False))
    own = {
        wanted[theirs]: _fit(tensor, own=wanted[theirs], piece=pieces[wanted[theirs].partition(".")[0]])
        for theirs, tensor in adapter.tensors.items()
    }
    shapes = {name: tensor for name, tensor in graft.layers.state_dict().items() if name in own}
    check_fit(graft.name, own, own=shapes)
    return convert_dora(base, graft, own, places=places)


def _fit(tensor: Tensor, *, own: str, piece: Piece) -> Tensor:
    """Give a tensor of a file as its part holds it."""
    part = piece.part
    if isinstance(part, IA3):
        return read_column(tensor) * piece.factor
    if isinstance(part, Lora) and own.endswith(".magnitude"):
        return read_column(tensor)
    if isinstance(part, Prefix) and part.reparameterization is None and tensor.numel() % part.length == 0:
        return tensor.reshape(part.length, -1)
    return tensor
