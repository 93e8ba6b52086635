"""LoRA and (IA)3 of PEFT: the parts that do the same, and where their tensors come from.

PEFT stands beside whole layers, parts stand beside maps. Where a layer computes several maps, each gets the rows that
are its own of what belongs to the layer's outputs (B, lengths, factors), and a copy of what belongs to its inputs (A).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from polygraft.errors import DataError
from polygraft.interop.peft_maps import Map, find_targets, group
from polygraft.interop.peft_options import IA3Options, LoraOptions
from polygraft.parts.ia3 import IA3
from polygraft.parts.lora import Lora
from polygraft.parts.part import Part
from polygraft.types import ProjectionRole

LORA_A, LORA_B, LORA_LENGTHS = "lora_A.weight", "lora_B.weight", "lora_magnitude_vector"
IA3_FACTORS = "ia3_l"

Take = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a tensor of a part is of one in the file."""

    name: str
    """Of the tensor in the file, below the encoder."""
    take: Take
    """Gives what is the part's own of it."""


@dataclass(frozen=True, kw_only=True)
class LinearParts:
    """Parts, and where their tensors come from."""

    parts: list[Part]
    shares: Mapping[str, Share]
    """By the names that the graft gives its tensors."""

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the graft's tensors from those of the file."""
        return {own: share.take(tensors[share.name]) for own, share in self.shares.items()}


def read_lora(maps: Sequence[Map], options: LoraOptions, *, where: str) -> LinearParts:
    """Give the parts that a LoRA is: one for each rank, alpha and set of maps.

    Raises:
        DataError: It is about no map of the base.
    """
    chosen = find_targets(maps, options.target, where=where)
    by_place = {(each.layer, each.role): each for each in chosen}

    def measure(each: Map) -> tuple[int, float]:
        return options.find_rank(each.full_name), options.find_alpha(each.full_name)

    parts: list[Part] = []
    shares: dict[str, Share] = {}
    for index, ((rank, alpha), roles, layers) in enumerate(group(chosen, measure)):
        parts.append(
            Lora(
                rank=rank,
                alpha=alpha,
                roles=roles,
                skip_layers=_skip(maps, layers),
                rslora=options.rslora,
                dora=options.dora,
            )
        )
        for each in (by_place[layer, role] for layer in layers for role in roles):
            here = f"{_name_part(Lora.kind, index)}.layers.{each.layer}.{each.role}"
            name = f"{each.name}.{LORA_B}"
            shares[f"{here}.A"] = Share(name=f"{each.name}.{LORA_A}", take=_take_all)
            shares[f"{here}.B"] = Share(name=name, take=_make_slice(each, name))
            if options.dora:
                name = f"{each.name}.{LORA_LENGTHS}"
                shares[f"{here}.magnitude"] = Share(name=name, take=_make_difference(each, name))
    return LinearParts(parts=parts, shares=shares)


def read_ia3(maps: Sequence[Map], options: IA3Options, *, where: str) -> LinearParts:
    """Give the parts that an (IA)3 is: one for each set of outputs and inputs.

    Raises:
        DataError: It is about no map of the base, or about what several maps read together.
    """
    by_layer: dict[int, tuple[tuple[ProjectionRole, ...], tuple[ProjectionRole, ...]]] = {}
    by_place: dict[tuple[int, ProjectionRole], Map] = {}
    for each in find_targets(maps, options.target, where=where):
        by_place[each.layer, each.role] = each
        outputs, inputs = by_layer.get(each.layer, ((), ()))
        if options.multiplies_input(each.full_name):
            _check_own_input(each, where=where)
            by_layer[each.layer] = (outputs, (*inputs, each.role))
        else:
            by_layer[each.layer] = ((*outputs, each.role), inputs)
    parts: list[Part] = []
    shares: dict[str, Share] = {}
    for index, (outputs, inputs) in enumerate(dict.fromkeys(by_layer.values())):
        layers = [layer for layer, found in by_layer.items() if found == (outputs, inputs)]
        parts.append(IA3(outputs=outputs, inputs=inputs, skip_layers=_skip(maps, layers)))
        for kind, roles in (("outputs", outputs), ("inputs", inputs)):
            for each in (by_place[layer, role] for layer in layers for role in roles):
                own = f"{_name_part(IA3.kind, index)}.{kind}.{each.layer}.{each.role}"
                name = f"{each.name}.{IA3_FACTORS}"
                shares[own] = Share(name=name, take=_make_factors(each, own, name, is_input=kind == "inputs"))
    return LinearParts(parts=parts, shares=shares)


def _check_own_input(each: Map, *, where: str) -> None:
    if not each.is_whole:
        raise DataError(
            f"{where} multiplies what '{each.name}' reads, and in this base that layer computes several maps from one "
            "input. Expected a layer of one map. What was trained beside all of them at once cannot be brought over."
        )


def _name_part(kind: str, index: int) -> str:
    """Give what a graft calls its part of a kind: the second one has a number."""
    return kind if index == 0 else f"{kind}_{index + 1}"


def _skip(maps: Sequence[Map], layers: Sequence[int]) -> tuple[int, ...]:
    return tuple(layer for layer in dict.fromkeys(each.layer for each in maps) if layer not in layers)


def _take_all(tensor: Tensor) -> Tensor:
    return tensor


def _make_slice(each: Map, name: str) -> Take:
    def take(tensor: Tensor) -> Tensor:
        if each.is_whole:
            return tensor
        if tensor.shape[:1] != (each.projection.num_outputs,):
            raise DataError(
                f"The tensor '{name}' has the shape {list(tensor.shape)}. Expected {each.projection.num_outputs} rows, "
                "which is what that layer of the base gives. Import it on the base that it was trained on."
            )
        return tensor[each.projection.rows]

    return take


def _make_difference(each: Map, name: str) -> Take:
    """Give what takes rows' lengths to what they differ by from those of the base's weight."""
    slice_rows = _make_slice(each, name)

    def take(tensor: Tensor) -> Tensor:
        lengths, own = slice_rows(tensor), each.projection.weight.detach().float().cpu().norm(dim=1)
        # Another shape is refused by its name, where the graft is filled.
        return lengths - own if lengths.shape == own.shape else lengths

    return take


def _make_factors(each: Map, own: str, name: str, *, is_input: bool) -> Take:
    slice_rows = _make_slice(each, name)

    def take(tensor: Tensor) -> Tensor:
        if tensor.dim() != 2 or 1 not in tensor.shape:
            return tensor
        # A column scales what the layer gives, a row what it reads: a pattern in the configuration cannot be mistaken.
        if tensor.shape[0 if is_input else 1] != 1:
            raise DataError(
                f"The tensor for '{own}' has the shape {list(tensor.shape)}, and the configuration says that it scales "
                f"what the layer {'reads' if is_input else 'gives'}. Expected {'[1, n]' if is_input else '[n, 1]'}. "
                "Write feedforward_modules as a list of whole names."
            )
        return tensor.flatten() if is_input else slice_rows(tensor.flatten())

    return take
