"""What of several grafts can be added up, one class for each way in which a part holds its change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from typing_extensions import override

from polygraft.attach.merging import combine
from polygraft.attach.weights import refuse_int8
from polygraft.errors import GraftError
from polygraft.parts.delta import Delta, DeltaLayers
from polygraft.parts.edit import VALUE_DTYPES
from polygraft.parts.head import HeadLayers, PieceHeadLayers
from polygraft.parts.lora import Lora
from polygraft.parts.mask import Mask, MaskLayers
from polygraft.parts.places import encode_places
from polygraft.parts.prefix import Prefix

if TYPE_CHECKING:
    from polygraft.base.base import Base
    from polygraft.parts.part import Part

Tensors = dict[str, Tensor]
CODE = "kept.code"
"""The tensor of a mask that says which weights survive; there is none where all do."""


KNOWN = "bottleneck, compacter, invertible, glow, lora, ia3, prefix, bitfit, fusion, head, delta, and mask with values"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What is done at every place."""

    factors: Tensor
    """What each graft's difference is multiplied by, float64 [N]."""
    elects: bool
    """Whether signs are elected."""
    rescale: float
    """What differences are multiplied by besides, since some were dropped."""

    def apply(self, values: Tensor, *, start: Tensor | None = None, kept: Tensor | None = None) -> Tensor:
        """Compute the merged values of differences at U places, [N, U] to [U]."""
        return combine(values, self.factors * self.rescale, elects=self.elects, start=start, kept=kept)

    def apply_undropped(self, values: Tensor, *, start: Tensor | None = None) -> Tensor:
        """Compute the merged values of what is no difference, and is not trimmed or dropped."""
        return combine(values, self.factors, elects=self.elects, start=start)


class Summands(ABC):
    """One part of several grafts, alike in their options.

    A part whose effect is no linear function of its tensors may need a class of its own, as a product of matrices has.
    """

    @abstractmethod
    def find_differences(self, index: int) -> Tensors:
        """Give the differences of one graft from a fresh one, by the names of its tensors: what is trimmed or dropped.

        Args:
            index: Which of the grafts.
        """

    @abstractmethod
    def add_up(self, rule: Rule, kept: Sequence[Mapping[str, Tensor] | None]) -> tuple[Part, Tensors]:
        """Compute the merged part and its tensors.

        Args:
            rule: What is done at every place.
            kept: For each graft which of its differences take part; None is all of them.
        """


class WholeTensors(Summands):
    """Parts whose parameters are taken as they are.

    AdapterHub's averages of adapters are made in the same way. A fresh part's numbers are random about zero, zero, or
    in the norm of a head one, and so the start is zero, and one for norms. A head is the whole of what it is and no
    difference from anything: nothing of it is trimmed or dropped. Factors, as those of (IA)3, start at one.

    Args:
        part: The part.
        layers: Its tensors in each graft.
        start: What every tensor of a fresh part is counted from.
    """

    def __init__(self, part: Part, layers: Sequence[nn.Module], *, start: float = 0.0) -> None:
        self.part = part
        self.start = start
        self.tensors = [each.state_dict() for each in layers]
        self.is_difference = not isinstance(layers[0], HeadLayers | PieceHeadLayers)
        self.ones = {
            f"{name}.weight" for name, layer in layers[0].named_modules() if isinstance(layer, nn.LayerNorm)
        }

    @override
    def find_differences(self, index: int) -> Tensors:
        if not self.is_difference:
            return {}
        found = self.tensors[index].items()
        return {
            name: tensor.float().cpu() - self.start for name, tensor in found if tensor.is_floating_point()
        }

    @override
    def add_up(self, rule: Rule, kept: Sequence[Mapping[str, Tensor] | None]) -> tuple[Part, Tensors]:
        return self.part, {name: self._add_up(name, rule, kept) for name in self.tensors[0]}

    def _add_up(self, name: str, rule: Rule, kept: Sequence[Mapping[str, Tensor] | None]) -> Tensor:
        own = [each[name].cpu() for each in self.tensors]
        first = own[0]
        if not first.is_floating_point():
            if not all(torch.equal(first, other) for other in own):
                raise GraftError(
                    f"The tensor '{name}' of the part '{self.part.kind}' holds whole numbers, which differ between the "
                    "grafts and have no sum. Expected the same ones. Name grafts that were made alike."
                )
            return first
        values = torch.stack([each.double().flatten() for each in own])
        if not self.is_difference:
            start = torch.ones(first.numel(), dtype=torch.float64) if name in self.ones else None
            merged = rule.apply_undropped(values, start=start)
        else:
            start = torch.full(values.shape[1:], self.start, dtype=torch.float64) if self.start else None
            merged = rule.apply(values, start=start, kept=_stack_kept(kept, name, like=values))
        return merged.to(first.dtype).view(first.shape)


class Products(Summands):
    """Products of narrow matrices: that of the result is the exact sum, with the ranks of all grafts beside each other.

    With c_i what graft i counts for: `sum_i c_i B_i A_i = [c_1 B_1, c_2 B_2, ...] [A_1; A_2; ...]`. Grafts that count
    for nothing are left out.
    """

    def __init__(self, part: Lora, layers: Sequence[nn.Module], *, names: Sequence[str]) -> None:
        self.part = part
        self.names = names
        self.tensors = [each.state_dict() for each in layers]
        if part.dora:
            raise GraftError(
                f"The graft '{names[0]}' has a LoRA with dora=True, whose rows' lengths depend on its "
                "matrices: it has no sum. Expected dora=False. Stack such grafts in a plan, or name others."
            )

    @override
    def find_differences(self, index: int) -> Tensors:
        # A product is no difference at a place; `add_up` refuses what would trim or drop some.
        return {}

    @override
    def add_up(self, rule: Rule, kept: Sequence[Mapping[str, Tensor] | None]) -> tuple[Part, Tensors]:
        if rule.elects or rule.rescale != 1:
            raise GraftError(
                f"The graft '{self.names[0]}' has a LoRA, and values were to be trimmed, elected or dropped, which a "
                "product of two matrices has not. Expected a plain sum. Choose 'interpolate', 'add' or 'subtract' "
                "without a drop."
            )
        factors = rule.factors.tolist()
        # Of grafts that all count for nothing the first stands for zero.
        counted = [index for index, factor in enumerate(factors) if factor] or [0]
        own: Tensors = {}
        for name, first in self.tensors[0].items():
            is_right = name.rpartition(".")[2] == "A"
            pieces = [self.tensors[index][name].double().cpu() for index in counted]
            if not is_right:
                pieces = [factors[index] * piece for index, piece in zip(counted, pieces, strict=True)]
            own[name] = torch.cat(pieces, dim=0 if is_right else 1).to(first.dtype)
        times = len(counted)
        # So that the scale is that of each graft.
        alpha = self.part.alpha * (times**0.5 if self.part.rslora else times)
        return replace(self.part, rank=self.part.rank * times, alpha=alpha), own


class Deltas(Summands):
    """Sparse differences of weights: the result has the places of all of them together.

    Places of a graft that counts for nothing, or that were trimmed or dropped in every graft, are left out.
    """

    def __init__(self, part: Delta, layers: Sequence[DeltaLayers]) -> None:
        self.part = part
        self.layers = layers

    @override
    def find_differences(self, index: int) -> Tensors:
        return {"values": self.layers[index].values.detach().float().cpu()}

    @override
    def add_up(self, rule: Rule, kept: Sequence[Mapping[str, Tensor] | None]) -> tuple[Part, Tensors]:
        counted = [index for index, factor in enumerate(rule.factors.tolist()) if factor]
        is_whole = any(self.layers[index].places is None and kept[index] is None for index in counted)
        masks: list[Tensor] = []
        values: list[Tensor] = []
        for info in self.layers[0].infos:
            mask = torch.zeros(info.size, dtype=torch.bool)
            found = {index: self._read(index, info.name, kept[index]) for index in counted}
            for places, _ in found.values():
                mask[places] = True
            union = mask.nonzero()[:, 0]
            rows = torch.zeros(len(self.layers), len(union), dtype=torch.float64)
            is_there = torch.zeros(rows.shape, dtype=torch.bool)
            for index, (places, row) in found.items():
                at = torch.searchsorted(union, places)
                rows[index, at], is_there[index, at] = row.double(), True
            values.append(rule.apply(rows, kept=is_there).to(VALUE_DTYPES[self.part.dtype]))
            masks.append(mask)
        merged = torch.cat(values)
        if is_whole:
            return replace(self.part, num_values=None, num_code_bytes=None), {"values": merged}
        code = encode_places(masks)
        part = replace(self.part, num_values=len(merged), num_code_bytes=len(code))
        return part, {"values": merged, "places.code": code}

    def _read(self, index: int, name: str, kept: Mapping[str, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Give the places of a weight at which one graft takes part, int64 [K], and its values there."""
        layers = self.layers[index]
        values, places = layers.read(name).cpu(), layers.find_places(name)
        places = torch.arange(len(values)) if places is None else places.cpu()
        if kept is None:
            return places, values
        is_kept = kept["values"][layers.find_span(name)]
        return places[is_kept], values[is_kept]


class Survivors(Summands):
    """Masks that keep the same weights and have retrained them; the start is what the base has there."""

    def __init__(self, part: Mask, layers: Sequence[MaskLayers], *, base: Base, names: Sequence[str]) -> None:
        self.part = part
        self.layers = layers
        if part.retrained != "all":
            raise GraftError(
                f"The mask of '{names[0]}' has values of its own for {part.retrained} of the weights that it keeps. "
                "Expected them for all: which weights survive has no sum. Stack such grafts in a plan, or name others."
            )
        refuse_int8(base, names[0])
        codes = [{key: code for key, code in each.state_dict().items() if key == CODE} for each in layers]
        for name, other in zip(names, codes, strict=True):
            if codes[0].keys() != other.keys() or any(
                not torch.equal(codes[0][key], other[key]) for key in other
            ):
                raise GraftError(
                    f"The masks of '{names[0]}' and '{name}' keep other weights. Expected the same ones, since a "
                    "weight that one of them prunes has no value to add. `polygraft grafts compare` counts the common "
                    "ones; name grafts over one mask."
                )
        self.codes = codes[0]
        self.start = self._read_base(base)

    def _read_base(self, base: Base) -> Tensor:
        weights = dict(base.model.named_parameters())
        pieces: list[Tensor] = []
        for name in self.layers[0].names:
            places = self.layers[0].find_valued(name)
            flat = weights[name].detach().reshape(-1)
            pieces.append((flat if places is None else flat[places.to(flat.device)]).double().cpu())
        return torch.cat(pieces)

    def _read(self, index: int) -> Tensor:
        values = self.layers[index].values
        assert values is not None
        return values.detach().double().cpu()

    @override
    def find_differences(self, index: int) -> Tensors:
        return {"values": (self._read(index) - self.start).float()}

    @override
    def add_up(self, rule: Rule, kept: Sequence[Mapping[str, Tensor] | None]) -> tuple[Part, Tensors]:
        rows = torch.stack([self._read(index) for index in range(len(self.layers))])
        merged = rule.apply(rows, start=self.start, kept=_stack_kept(kept, "values", like=rows))
        return self.part, {"values": merged.to(VALUE_DTYPES[self.part.dtype]), **self.codes}


def _stack_kept(kept: Sequence[Mapping[str, Tensor] | None], name: str, *, like: Tensor) -> Tensor | None:
    """Give which values of a tensor take part, [N, U] of bool as `like`; None is all."""
    if all(each is None for each in kept):
        return None
    everything = torch.ones(like.shape[1], dtype=torch.bool)
    return torch.stack([everything if each is None else each[name].flatten() for each in kept])


def gather_summands(base: Base, part: Part, layers: Sequence[nn.Module], *, names: Sequence[str]) -> Summands:
    """Find out how one part of several grafts is added up.

    Args:
        base: The base of all of them.
        part: Its options in the first graft.
        layers: Its tensors in each.
        names: What messages call the grafts.

    Raises:
        GraftError: It cannot be added up, or not in these grafts.
    """
    match part.kind:
        case "bottleneck" | "invertible" | "head" | "bitfit" | "compacter" | "glow" | "fusion":
            return WholeTensors(part, layers)
        case "ia3":
            return WholeTensors(part, layers, start=1.0)
        case "lora" if isinstance(part, Lora):
            return Products(part, layers, names=names)
        case "prefix" if isinstance(part, Prefix):
            if part.reparameterization is not None:
                raise GraftError(
                    f"The graft '{names[0]}' has a prefix with reparameterization={part.reparameterization}, and a sum "
                    "of networks is not the network of a sum. Expected reparameterization=None, the plain values. Name "
                    "grafts that were trained with that."
                )
            return WholeTensors(part, layers)
        case "delta" if isinstance(part, Delta):
            return Deltas(part, [each for each in layers if isinstance(each, DeltaLayers)])
        case "mask" if isinstance(part, Mask):
            masks = [each for each in layers if isinstance(each, MaskLayers)]
            return Survivors(part, masks, base=base, names=names)
        case "scores":
            raise GraftError(
                f"The graft '{names[0]}' has scores, which say what a mask that is being learned will keep, and have "
                "no sum. Expected grafts with values. Name others."
            )
        case _:
            raise GraftError(
                f"The graft '{names[0]}' has the part '{part.kind}', for which no sum is known. Expected {KNOWN}. Name "
                "other grafts."
            )
