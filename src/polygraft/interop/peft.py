"""LoRA, (IA)3 and prompts of PEFT as grafts.

A folder has adapter_config.json beside adapter_model.safetensors or adapter_model.bin. Its tensors are named after
the layers of the model that was trained: `base_model.model.`, the layer, and `lora_A.weight` or the like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from polygraft.attach.graft import copy_tensors, make_graft
from polygraft.errors import DataError
from polygraft.interop.adapterhub_names import check_names
from polygraft.interop.heads import HeadTensors, read_plain_head
from polygraft.interop.imported import Imported, Origin
from polygraft.interop.named_tensors import read_tensors
from polygraft.interop.options import show
from polygraft.interop.peft_linear import read_ia3, read_lora
from polygraft.interop.peft_maps import list_maps
from polygraft.interop.peft_options import read_ia3_options, read_lora_options
from polygraft.interop.peft_prompt import VALUES, read_prompt_options, refuse_prefix
from polygraft.interop.source import Source, open_source
from polygraft.store.fields import JsonValue

if TYPE_CHECKING:
    from polygraft.base.base import Base

LIBRARY = "peft"
CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
PREFIX = "base_model.model."
PROMPT, PREFIXES = "PROMPT_TUNING", "PREFIX_TUNING"
KINDS = ("LORA", "IA3", PROMPT)
OBJECTIVES: Mapping[str, str] = {"TOKEN_CLS": "tokens", "SEQ_CLS": "sequence"}
"""What a model of a task type scores."""


def import_peft(base: Base, path: Path, *, name: str, labels: Sequence[str] | None = None) -> Imported:
    """Read a LoRA or (IA)3 as a graft, with a head where the folder has one, or a prompt.

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
    config = source.read_json(CONFIG)
    where = f"{source.where}/{CONFIG}"
    kind = config.get("peft_type")
    if kind == PREFIXES:
        raise refuse_prefix(where=where)
    if kind not in KINDS:
        raise DataError(
            f"{where} has peft_type = {show(kind)}, which polygraft cannot import. Expected one of {', '.join(KINDS)}. "
            "What was trained with that cannot be brought over; nothing was written."
        )
    if kind == PROMPT:
        return _import_prompt(base, source, config, name=name, labels=labels)
    stored = read_tensors(source, names=WEIGHTS)
    prefix = f"{PREFIX}{base.model.base_model_prefix}."
    # Without one, a bare encoder was trained, and no head around it.
    is_bare = not any(key.startswith(prefix) for key in stored)
    maps = list_maps(base, is_bare=is_bare)
    num_layers = base.sites.num_layers
    if kind == "LORA":
        options = read_lora_options(config, where=where, num_layers=num_layers)
        read = read_lora(maps, options, where=where)
    else:
        options = read_ia3_options(config, where=where, num_layers=num_layers)
        read = read_ia3(maps, options, where=where)
    encoder, rest = _split(stored, prefix=PREFIX if is_bare else prefix, saved=options.saved)
    check_names(encoder, {share.name for share in read.shares.values()}, where=source.where)
    head = _read_head(base, rest, saved=options.saved, task=options.task, labels=labels, where=source.where)
    graft = make_graft(base, name, [*read.parts, *([] if head is None else [head.part])])
    copy_tensors(graft, {**read.gather(encoder), **({} if head is None else head.named())})
    graft.layers.requires_grad_(False)
    return Imported(graft=graft, origin=_tell_origin(source, config, stored, head, labels))


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


def _import_prompt(
    base: Base, source: Source, config: Mapping[str, JsonValue], *, name: str, labels: Sequence[str] | None
) -> Imported:
    where = f"{source.where}/{CONFIG}"
    part = read_prompt_options(config, where=where, embedding=base.sites.embedding)
    if labels is not None:
        raise DataError(
            f"{source.where} holds a prompt and no head, and {len(labels)} labels were named. Expected none. Leave "
            "--labels out."
        )
    stored = read_tensors(source, names=WEIGHTS)
    check_names(stored, [VALUES], where=source.where)
    graft = make_graft(base, name, [part])
    copy_tensors(graft, {f"{part.kind}.values": stored[VALUES]})
    graft.layers.requires_grad_(False)
    return Imported(graft=graft, origin=_tell_origin(source, config, stored, None, None))


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


def _read_head(
    base: Base,
    rest: Mapping[str, Tensor],
    *,
    saved: Sequence[str],
    task: str | None,
    labels: Sequence[str] | None,
    where: str,
) -> HeadTensors | None:
    unasked = [key for key in rest if not set(key.split(".")[:2]) & set(saved)]
    if unasked:
        raise DataError(
            f"{where} has a tensor '{unasked[0]}' that its configuration does not name. Expected tensors of the "
            f"encoder under '{PREFIX}{base.model.base_model_prefix}.', and those of modules_to_save: "
            f"{', '.join(saved) or 'none'}. Import it on the base that it was trained on."
        )
    if not rest:
        if labels is not None:
            raise DataError(
                f"{where} has no head, and the {len(labels)} labels {', '.join(labels)} were given. Expected labels "
                "for a folder with a head only. Leave the labels out."
            )
        return None
    head = read_plain_head(base, rest, labels=labels, where=where)
    wanted = OBJECTIVES.get(task or "", head.part.objective)
    if head.part.objective != wanted:
        raise DataError(
            f"{where} was trained as {task} and has a head for '{head.part.objective}', {', '.join(rest)}. Expected "
            f"one for '{wanted}' that is whole: a layer in front of it, or the pooler, was not saved with it. Import "
            "it from a folder with all layers of its head."
        )
    return head
