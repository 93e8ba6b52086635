"""Two grafts that change weights, place by place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from polygraft.attach.sparse import find_edit, read_places, read_values
from polygraft.attach.weights import count_undone
from polygraft.errors import GraftError
from polygraft.parts.delta import DeltaLayers
from polygraft.parts.edit import EditLayers
from polygraft.parts.mask import MaskLayers

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.attach.graft import Graft


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """What two grafts have in common in one weight, or in all of them."""

    name: str
    """The weight."""
    size: int
    """Its numbers."""
    num_a: int
    """Places that the first one changes; for a mask, that it keeps."""
    num_b: int
    """The same of the second."""
    num_both: int
    num_opposite: int
    """Common places where two deltas have opposite signs; 0 where one is a mask."""

    @property
    def num_by_chance(self) -> float:
        """How many places two masks of these densities have in common on average, if they are chosen by chance."""
        return self.num_a * self.num_b / self.size if self.size else 0.0

    @property
    def jaccard(self) -> float:
        """Common places over those of either; 0 if there are none."""
        either = self.num_a + self.num_b - self.num_both
        return self.num_both / either if either else 0.0


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two grafts beside each other."""

    total: Overlap
    weights: tuple[Overlap, ...]
    """Those that either is about, most in common first."""
    sentences: tuple[str, ...]
    """What stacks of the two would do."""


def compare_grafts(a: Graft, b: Graft) -> Comparison:
    """Count what two grafts of one base change of the same weights.

    Args:
        a: A graft with a delta or a mask.
        b: Another one.

    Raises:
        GraftError: One of them changes no weights.
    """
    layers = [_find(graft) for graft in (a, b)]
    places = [read_places(each) for each in layers]
    values = [read_values(each) if isinstance(each, DeltaLayers) else {} for each in layers]
    names = [*places[0], *(name for name in places[1] if name not in places[0])]
    found = [_compare(name, places, values) for name in names]
    total = Overlap(
        name="all",
        size=sum(each.size for each in found),
        num_a=sum(each.num_a for each in found),
        num_b=sum(each.num_b for each in found),
        num_both=sum(each.num_both for each in found),
        num_opposite=sum(each.num_opposite for each in found),
    )
    return Comparison(
        total=total,
        weights=tuple(sorted(found, key=lambda each: (-each.num_both, each.name))),
        sentences=tuple(_tell(a.name, b.name, layers, total)),
    )


def _find(graft: Graft) -> EditLayers:
    for kind in (DeltaLayers, MaskLayers):
        if any(isinstance(layers, kind) for layers in graft.layers.children()):
            return find_edit(graft, kind)
    raise GraftError(
        f"The graft '{graft.name}' has no delta and no mask: its parts are "
        f"{', '.join(part.kind for part in graft.parts)}. Expected two grafts that change weights. Name another one."
    )


def _compare(name: str, places: Sequence[dict[str, Tensor]], values: Sequence[dict[str, Tensor]]) -> Overlap:
    mask = next(each[name] for each in places if name in each)
    first, second = (each.get(name, torch.zeros_like(mask)) for each in places)
    both = first & second
    opposite = 0
    if all(name in each for each in values):
        opposite = int((both & (values[0][name] * values[1][name] < 0)).sum())
    return Overlap(
        name=name,
        size=mask.numel(),
        num_a=int(first.sum()),
        num_b=int(second.sum()),
        num_both=int(both.sum()),
        num_opposite=opposite,
    )


def _tell(a: str, b: str, layers: Sequence[EditLayers], total: Overlap) -> list[str]:
    if all(isinstance(each, DeltaLayers) for each in layers):
        return [
            f"In a stack '{a}' and '{b}' add up, in either order: both change {total.num_both:,} places, "
            f"{total.num_opposite:,} of them in opposite directions."
        ]
    sentences: list[str] = []
    for (below, under), (above, over) in (((a, layers[0]), (b, layers[1])), ((b, layers[1]), (a, layers[0]))):
        if isinstance(over, MaskLayers):
            num = sum(
                count_undone(over, under, info.name, size=info.size)
                for info in over.infos
                if info.name in under.index_of
            )
            what = "keeps" if isinstance(under, MaskLayers) else "changes"
            sentences.append(
                f"In stack({below}, {above}) the mask of '{above}' wins over '{below}' at {num:,} places that "
                f"'{below}' {what}."
            )
        else:
            sentences.append(
                f"In stack({below}, {above}) the differences of '{above}' are added to what '{below}' left."
            )
    return sentences
