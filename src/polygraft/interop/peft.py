"""LoRA, (IA)3, prompts and prefixes of PEFT as grafts.

A folder has adapter_config.json beside adapter_model.safetensors or adapter_model.bin. Its tensors are named after
the layers of the model that was trained: `base_model.model.`, the layer, and `lora_A.weight` or the like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from polygraft.attach.graft import copy_tensors, make_graft
from polygraft.errors import DataError
from polygraft.interop.adapterhub_names import check_names
from polygraft.interop.heads import HeadTensors
from polygraft.interop.imported import Imported, Origin
from polygraft.interop.named_tensors import read_tensors
from polygraft.interop.options import show
from polygraft.interop.peft_bias import COPIES, NONE, list_biases, rename_biases, subtract_biases
from polygraft.interop.peft_heads import read_saved_head
from polygraft.interop.peft_linear import read_ia3, read_lora
from polygraft.interop.peft_maps import find_targets, list_maps
from polygraft.interop.peft_options import read_ia3_options, read_lora_options
from polygraft.interop.peft_prompt import PREFIXES, PROMPT, read_prompt, read_prompt_options
from polygraft.interop.recognise import PEFT, refuse_others
from polygraft.interop.source import Source, open_source
from polygraft.parts.bitfit import BitFit
from polygraft.parts.part import Part
from polygraft.store.fields import JsonValue

if TYPE_CHECKING:
    from polygraft.base.base import Base

LIBRARY = "peft"
CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
PREFIX = "base_model.model."
KINDS = ("LORA", "IA3", PROMPT, PREFIXES)


@dataclass(frozen=True, kw_only=True)
class _Read:
    """What a folder holds."""

    parts: list[Part]
    tensors: dict[str, Tensor]
    """By the names that the graft gives them."""
    head: HeadTensors | None


def import_peft(base: Base, path: Path, *, name: str, labels: Sequence[str] | None = None) -> Imported:
    """Read a LoRA, an (IA)3, a prompt or a prefix as a graft, with a head where the folder has one.

    Args:
        base: The base that it was trained on.
        path: Its folder, or a zip of it.
        name: What plans are to call the graft.
        labels: Names of the head's labels, in order; the folder has none. None calls them LABEL_0 and so on.

    Raises:
        DataError: A file is damaged, or asks for what no part does.
        GraftError: A tensor does not have the shape that the base asks for.
    """
    source = open_source(path)
    refuse_others(source, wanted=PEFT)
    config = source.read_json(CONFIG)
    where = f"{source.where}/{CONFIG}"
    kind = config.get("peft_type")
    if not isinstance(kind, str) or kind not in KINDS:
        raise DataError(
            f"{where} has peft_type = {show(kind)}, which polygraft cannot import. Expected one of {', '.join(KINDS)}. "
            "What was trained with that cannot be brought over; nothing was written."
        )
    if kind in (PROMPT, PREFIXES):
        # What a configuration asks for is refused before any tensor is read.
        options = read_prompt_options(base, config, kind=kind, where=where)
        stored = read_tensors(source, names=WEIGHTS)
        tensors, head = read_prompt(base, options, stored, labels=labels, where=source.where)
        read = _Read(parts=[options.part], tensors=tensors, head=head)
    else:
        stored = read_tensors(source, names=WEIGHTS)
        read = _read_linear(base, config, stored, kind=kind, labels=labels, where=source.where)
    head = read.head
    graft = make_graft(base, name, [*read.parts, *([] if head is None else [head.part])])
    copy_tensors(graft, {**read.tensors, **({} if head is None else head.named())})
    graft.layers.requires_grad_(False)
    return Imported(graft=graft, origin=_tell_origin(source, config, stored, head, labels))


def _read_linear(
    base: Base,
    config: Mapping[str, JsonValue],
    stored: Mapping[str, Tensor],
    *,
    kind: str,
    labels: Sequence[str] | None,
    where: str,
) -> _Read:
    """Read a LoRA or an (IA)3."""
    prefix = f"{PREFIX}{base.model.base_model_prefix}."
    # Without one, a bare encoder was trained, and no head around it.
    is_bare = not any(key.startswith(prefix) for key in stored)
    maps, num_layers = list_maps(base, is_bare=is_bare), base.sites.num_layers
    names: tuple[str, ...] = ()
    if kind == "LORA":
        options = read_lora_options(config, where=f"{where}/{CONFIG}", num_layers=num_layers)
        read = read_lora(maps, options, where=f"{where}/{CONFIG}")
        targets = find_targets(maps, options.target, where=f"{where}/{CONFIG}")
        names = list_biases(base, options.bias, targets)
        if options.bias != NONE:
            stored = {
                key: tensor for key, tensor in stored.items() if not any(copy in key for copy in COPIES)
            }
    else:
        options = read_ia3_options(config, where=f"{where}/{CONFIG}", num_layers=num_layers)
        read = read_ia3(maps, options, where=f"{where}/{CONFIG}")
    encoder, rest = _split(stored, prefix=PREFIX if is_bare else prefix, saved=options.saved)
    encoder = rename_biases(encoder) if names else encoder
    check_names(encoder, {*(share.name for share in read.shares.values()), *names}, where=where)
    head = read_saved_head(
        base,
        rest,
        saved=options.saved,
        task=options.task,
        labels=labels,
        where=where,
        expected=f"tensors of the encoder under '{prefix}'",
    )
    parts, tensors = list(read.parts), read.gather(encoder)
    if names:
        parts.append(BitFit(weights=names))
        tensors[f"{BitFit.kind}.values"] = subtract_biases(base, names, encoder)
    return _Read(parts=parts, tensors=tensors, head=head)


def _split(
    stored: Mapping[str, Tensor], *, prefix: str, saved: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Give what stands in the encoder, by names below it, and the head's tensors, by names in the model."""
    encoder: dict[str, Tensor] = {}
    rest: dict[str, Tensor] = {}
    for key, tensor in stored.items():
        name = key.removeprefix(prefix)
        # A pooler stands in the encoder, and is a layer of the head.
        if key.startswith(prefix) and name.partition(".")[0] not in saved:
            encoder[name] = tensor
        else:
            rest[key.removeprefix(PREFIX)] = tensor
    return encoder, rest


def _tell_origin(
    source: Source,
    config: Mapping[str, JsonValue],
    stored: Mapping[str, Tensor],
    head: HeadTensors | None,
    labels: Sequence[str] | None,
) -> Origin:
    notes: list[str] = []
    if head is not None and labels is None:
        given = head.part.labels
        notes.append(f"The folder has no names of labels; they are called {given[0]} to {given[-1]}.")
    version, made_for = config.get("peft_version"), config.get("base_model_name_or_path")
    return Origin(
        library=LIBRARY,
        version=version if isinstance(version, str) else None,
        made_for=made_for if isinstance(made_for, str) and made_for else None,
        num_tensors=len(stored),
        digests=dict(source.digests),
        notes=tuple(notes),
    )
