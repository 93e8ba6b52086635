"""LoRA beside maps as LoRA beside whole layers, as PEFT has it.

Beside a layer that computes several maps PEFT has one A and one B for all of them. With s the scale of all, and A_i,
B_i and s_i those of the map whose outputs are the rows i:

    B A s = [s_1 B_1 A_1; s_2 B_2 A_2; ...]    with A = [A_1; A_2; ...] and B = diag(B_1 s_1/s, B_2 s_2/s, ...)

Maps with the same A, as they are after an import, share it: then B is [B_1; B_2; ...]. A map without a LoRA has rows of
zeros in B, and with DoRA the lengths of the base's own rows. All of this is exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polygraft.errors import GraftError
from polygraft.interop.peft_linear import LORA_A, LORA_B, LORA_LENGTHS
from polygraft.interop.peft_maps import Map
from polygraft.parts.lora import Lora, LoraLayer
from polygraft.types import ProjectionRole

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft

Place = tuple[int, ProjectionRole]


@dataclass(frozen=True, kw_only=True)
class LoraSlice:
    """The LoRA beside one map."""

    place: Map
    layer: LoraLayer
    options: Lora


@dataclass(frozen=True, kw_only=True)
class WholeLora:
    """The LoRA beside one layer."""

    rank: int
    alpha: float
    tensors: Mapping[str, Tensor]
    """By the ends of their names."""


def merge_slices(
    graft: Graft, slices: Sequence[LoraSlice], maps: Mapping[Place, Map]
) -> dict[str, WholeLora]:
    """Give the LoRA of each layer by its name, in the order of the slices.

    Args:
        graft: The graft, for the messages.
        slices: Those of all its maps.
        maps: All maps of the base.

    Raises:
        GraftError: Two of them are beside one map.
    """
    check_once(graft, [each.place for each in slices])
    by_name: dict[str, list[LoraSlice]] = {}
    for each in slices:
        by_name.setdefault(each.place.name, []).append(each)
    return {name: _merge(found, maps) for name, found in by_name.items()}


def check_once(graft: Graft, places: Sequence[Map]) -> None:
    """Refuse two parts beside one map.

    Raises:
        GraftError: There are such.
    """
    twice = [place for place, count in Counter(map(_name_place, places)).items() if count > 1]
    if twice:
        raise GraftError(
            f"The graft '{graft.name}' has two parts beside '{twice[0]}'. Expected one beside each map, as PEFT has. "
            "Export another graft."
        )


def _name_place(each: Map) -> str:
    return each.name if each.is_whole else f"{each.name}, {each.role}"


def join_rows(
    rows: Mapping[Place, Tensor],
    maps: Mapping[Place, Map],
    *,
    missing: Callable[[Map, Tensor], Tensor],
) -> Tensor:
    """Put what belongs to the outputs of a layer's maps one below the other.

    Args:
        rows: [rows, ...] of some maps of one layer.
        maps: All maps of the base.
        missing: Gives those of another map, with the shape of what it is given.
    """
    name, like = maps[next(iter(rows))].name, next(iter(rows.values()))
    found = sorted(
        (each for each in maps.values() if each.name == name), key=lambda each: each.projection.rows.start
    )
    return torch.cat([rows.get((each.layer, each.role), missing(each, like)) for each in found])


def _merge(slices: Sequence[LoraSlice], maps: Mapping[Place, Map]) -> WholeLora:
    shared: list[Tensor] = []
    """The different A."""
    at: list[int] = []
    """Which of them each slice has."""
    for each in slices:
        own = each.layer.A.detach()
        index = next((index for index, other in enumerate(shared) if torch.equal(other, own)), len(shared))
        shared.extend([own] if index == len(shared) else [])
        at.append(index)
    options = slices[0].options
    rank = sum(len(own) for own in shared)
    blocks: dict[Place, Tensor] = {}
    lengths: dict[Place, Tensor] = {}
    for each, index in zip(slices, at, strict=True):
        place = (each.place.layer, each.place.role)
        ratio = each.options.scale / options.scale
        pieces = [each.layer.B.new_zeros(each.place.projection.num_rows, len(own)) for own in shared]
        pieces[index] = each.layer.B.detach() * ratio if ratio != 1 else each.layer.B.detach()
        blocks[place] = torch.cat(pieces, dim=1)
        if each.layer.magnitude is not None:
            lengths[place] = each.layer.magnitude.detach() + _measure(each.place)
    tensors = {
        LORA_A: torch.cat(shared),
        LORA_B: join_rows(blocks, maps, missing=lambda _, like: torch.zeros_like(like)),
    }
    if lengths:
        tensors[LORA_LENGTHS] = join_rows(lengths, maps, missing=lambda each, _: _measure(each))
    # The scale stays what it was, with the new rank.
    is_same = rank == options.rank
    divisor = rank**0.5 if options.rslora else rank
    return WholeLora(rank=rank, alpha=options.alpha if is_same else options.scale * divisor, tensors=tensors)


def _measure(each: Map) -> Tensor:
    """Give the lengths of the rows of a map's own weight."""
    return each.projection.weight.detach().float().norm(dim=1)
