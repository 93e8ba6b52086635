"""LoRA, (IA)3 and prompts of PEFT as grafts.

A folder has adapter_config.json beside adapter_model.safetensors or adapter_model.bin. Its tensors are named after
the layers of the model that was trained: `base_model.model.`, the layer, and `lora_A.weight` or the like.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from torch import Tensor

from polygraft.attach.graft import copy_tensors, make_graft
from polygraft.base.projections import find_family_projections, find_projection
from polygraft.errors import DataError
from polygraft.interop.adapterhub_names import check_names
from polygraft.interop.heads import HeadTensors, read_plain_head
from polygraft.interop.imported import Imported, Origin
from polygraft.interop.named_tensors import read_tensors
from polygraft.interop.options import show
from polygraft.interop.peft_options import (
    IA3Options,
    LoraOptions,
    Target,
    read_ia3_options,
    read_lora_options,
)
from polygraft.interop.peft_prompt import VALUES, read_prompt_options, refuse_prefix
from polygraft.interop.source import Source, open_source
from polygraft.parts.ia3 import IA3
from polygraft.parts.lora import Lora
from polygraft.parts.part import Part
from polygraft.store.fields import JsonValue
from polygraft.types import ProjectionRole

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

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Map:
    """One linear map of a base, as PEFT names it."""

    layer: int
    role: ProjectionRole
    name: str
    """Below the encoder, such as `encoder.layer.0.attention.self.query`."""
    full_name: str
    """In the model that was trained, such as `bert.encoder.layer.0.attention.self.query`."""
    is_whole: bool
    """Whether the layer of that name holds nothing else."""


@dataclass(frozen=True, kw_only=True)
class _Read:
    """Parts with their tensors: own names by those in the file."""

    parts: list[Part]
    names: Mapping[str, str]


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
    encoder = {key.removeprefix(prefix): tensor for key, tensor in stored.items() if key.startswith(prefix)}
    rest = {key.removeprefix(PREFIX): tensor for key, tensor in stored.items() if not key.startswith(prefix)}
    if not encoder:
        # A bare encoder was trained, without a head around it.
        encoder, rest = rest, {}
    maps = list_maps(base, is_bare=not any(key.startswith(prefix) for key in stored))
    if kind == "LORA":
        options = read_lora_options(config, where=where)
        read = _read_lora(base, maps, options, encoder, where=where)
    else:
        options = read_ia3_options(config, where=where)
        read = _read_ia3(maps, options, encoder, where=where)
    check_names(encoder, read.names, where=source.where)
    head = _read_head(base, rest, saved=options.saved, task=options.task, labels=labels, where=source.where)
    graft = make_graft(base, name, [*read.parts, *([] if head is None else [head.part])])
    own = {read.names[key]: tensor for key, tensor in encoder.items()}
    shapes = graft.tensors()
    own = {key: _fit(base, key, tensor, shapes) for key, tensor in own.items()}
    copy_tensors(graft, {**own, **({} if head is None else head.named())})
    graft.layers.requires_grad_(False)
    return Imported(graft=graft, origin=_tell_origin(source, config, stored, head, labels))


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
    if isinstance(config.get("target_modules"), str) and config.get("target_modules") != "all-linear":
        notes.append(
            "Its targets are a pattern, which was not followed: what the file has tensors for was taken."
        )
    version, made_for = config.get("peft_version"), config.get("base_model_name_or_path")
    return Origin(
        library=LIBRARY,
        version=version if isinstance(version, str) else None,
        made_for=made_for if isinstance(made_for, str) and made_for else None,
        num_tensors=len(stored),
        digests=dict(source.digests),
        notes=tuple(notes),
    )


def list_maps(base: Base, *, is_bare: bool = False) -> list[Map]:
    """List the linear maps of a base in order, with the names that they have in a model that was trained.

    Args:
        base: The base.
        is_bare: Whether that model was the encoder alone, without a head around it.
    """
    prefix = "" if is_bare else f"{base.model.base_model_prefix}."
    paths = find_family_projections(base.sites.family.name)
    found: list[Map] = []
    for layer in range(base.sites.num_layers):
        for role, path in paths.items():
            name = f"{base.sites.family.layers}.{layer}.{path.path}"
            found.append(
                Map(
                    layer=layer,
                    role=role,
                    name=name,
                    full_name=f"{prefix}{name}",
                    is_whole=path.num_fused == 1,
                )
            )
    return found


def _find_targets(
    maps: Sequence[Map], target: Target, *, found: Iterable[str], ends: Sequence[str], where: str
) -> list[Map]:
    """Give the maps that a configuration is about; those that have tensors where a pattern says which."""
    names = {key.removesuffix(end) for key in found for end in ends if key.endswith(end)}
    is_pattern = target.modules is None and not target.is_all_linear
    chosen = [
        each
        for each in maps
        if (each.name in names if is_pattern else target.covers(each.full_name, layer=each.layer))
    ]
    if not chosen:
        raise DataError(
            f"{where} is about no linear map of the base's layers: its targets are "
            f"{', '.join(target.modules or ()) or 'a pattern'}. Expected some of {', '.join(list_ends(maps))}. Import "
            "it on the base that it was trained on."
        )
    for each in chosen:
        if not each.is_whole:
            raise DataError(
                f"{where} is about '{each.name}', which holds several maps of this base in one. Expected maps that are "
                "layers of their own. What was trained beside all of them at once cannot be brought over."
            )
    return chosen


def list_ends(maps: Sequence[Map]) -> list[str]:
    """Give the names of the maps below their layers, each once."""
    return list(dict.fromkeys(each.name.partition(f".{each.layer}.")[2] for each in maps))


def group(
    maps: Sequence[Map], key: Callable[[Map], Key]
) -> list[tuple[Key, tuple[ProjectionRole, ...], tuple[int, ...]]]:
    """Gather maps into blocks, each of some layers times some roles, with one key each.

    Args:
        maps: The maps, in order.
        key: What has to be equal in a block.

    Returns:
        For each block its key, roles and layers; each becomes a part.
    """
    by_layer: dict[tuple[int, Key], list[ProjectionRole]] = {}
    for each in maps:
        by_layer.setdefault((each.layer, key(each)), []).append(each.role)
    blocks: dict[tuple[Key, tuple[ProjectionRole, ...]], list[int]] = {}
    for (layer, found), roles in by_layer.items():
        blocks.setdefault((found, tuple(roles)), []).append(layer)
    return [(found, roles, tuple(layers)) for (found, roles), layers in blocks.items()]


def _name_part(kind: str, index: int) -> str:
    """Give what a graft calls its part of a kind: the second one has a number."""
    return kind if index == 0 else f"{kind}_{index + 1}"


def _skip(base_layers: int, layers: Sequence[int]) -> tuple[int, ...]:
    return tuple(layer for layer in range(base_layers) if layer not in layers)


def _read_lora(
    base: Base,
    maps: Sequence[Map],
    options: LoraOptions,
    encoder: Mapping[str, Tensor],
    *,
    where: str,
) -> _Read:
    ends = (".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector")
    chosen = _find_targets(maps, options.target, found=encoder, ends=ends, where=where)
    names = {(each.layer, each.role): each.name for each in chosen}

    def measure(each: Map) -> tuple[int, float]:
        return options.find_rank(each.full_name), options.find_alpha(each.full_name)

    parts: list[Part] = []
    own: dict[str, str] = {}
    for index, ((rank, alpha), roles, layers) in enumerate(group(chosen, measure)):
        parts.append(
            Lora(
                rank=rank,
                alpha=alpha,
                roles=roles,
                skip_layers=_skip(base.sites.num_layers, layers),
                rslora=options.rslora,
                dora=options.dora,
            )
        )
        for layer in layers:
            for role in roles:
                here = f"{_name_part(Lora.kind, index)}.layers.{layer}.{role}"
                own[f"{names[layer, role]}.lora_A.weight"] = f"{here}.A"
                own[f"{names[layer, role]}.lora_B.weight"] = f"{here}.B"
                if options.dora:
                    own[f"{names[layer, role]}.lora_magnitude_vector"] = f"{here}.magnitude"
    return _Read(parts=parts, names=own)


def _read_ia3(
    maps: Sequence[Map], options: IA3Options, encoder: Mapping[str, Tensor], *, where: str
) -> _Read:
    chosen = _find_targets(maps, options.target, found=encoder, ends=(".ia3_l",), where=where)
    num_layers = 1 + max(each.layer for each in maps)
    by_layer: dict[int, tuple[tuple[ProjectionRole, ...], tuple[ProjectionRole, ...]]] = {}
    names = {(each.layer, each.role): each.name for each in chosen}
    for each in chosen:
        outputs, inputs = by_layer.get(each.layer, ((), ()))
        is_input = options.feedforward.covers(each.full_name, layer=each.layer)
        by_layer[each.layer] = (
            (outputs, (*inputs, each.role)) if is_input else ((*outputs, each.role), inputs)
        )
    parts: list[Part] = []
    own: dict[str, str] = {}
    for index, (outputs, inputs) in enumerate(dict.fromkeys(by_layer.values())):
        layers = [layer for layer, found in by_layer.items() if found == (outputs, inputs)]
        parts.append(IA3(outputs=outputs, inputs=inputs, skip_layers=_skip(num_layers, layers)))
        for layer in layers:
            for kind, roles in (("outputs", outputs), ("inputs", inputs)):
                for role in roles:
                    here = f"{_name_part(IA3.kind, index)}.{kind}.{layer}.{role}"
                    own[f"{names[layer, role]}.ia3_l"] = here
    return _Read(parts=parts, names=own)


def _fit(base: Base, own: str, tensor: Tensor, shapes: Mapping[str, Tensor]) -> Tensor:
    """Give a tensor of the file as the part holds it."""
    if own.startswith(IA3.kind) and tensor.dim() == 2 and 1 in tensor.shape:
        # A column scales what the layer gives, a row what it reads: a pattern in the configuration cannot be mistaken.
        is_input = ".inputs." in own
        if tensor.shape[0 if is_input else 1] != 1:
            raise DataError(
                f"The tensor for '{own}' has the shape {list(tensor.shape)}, and the configuration says that it scales "
                f"what the layer {'reads' if is_input else 'gives'}. Expected {'[1, n]' if is_input else '[n, 1]'}. "
                "Write feedforward_modules as a list of whole names."
            )
        return tensor.flatten()
    if own.endswith(".magnitude") and tensor.shape == shapes[own].shape:
        layer, role = own.split(".")[2:4]
        # The file has the rows' lengths; the part has what they differ by from those of the base's weight.
        weight = find_projection(base.sites, layer=int(layer), role=_as_role(base, role)).weight
        return tensor - weight.detach().float().cpu().norm(dim=1)
    return tensor


def _as_role(base: Base, name: str) -> ProjectionRole:
    return next(role for role in find_family_projections(base.sites.family.name) if role == name)


def _read_head(
    base: Base,
    rest: Mapping[str, Tensor],
    *,
    saved: Sequence[str],
    task: str | None,
    labels: Sequence[str] | None,
    where: str,
) -> HeadTensors | None:
    unasked = [key for key in rest if key.partition(".")[0] not in saved]
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
