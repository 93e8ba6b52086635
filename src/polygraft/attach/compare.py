"""Two grafts that change weights, place by place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from polygraft.attach.sparse import find_change, mark_places
from polygraft.attach.weights import count_undone
from polygraft.errors import GraftError
from polygraft.parts.delta import DeltaLayers
from polygraft.parts.mask import MaskLayers
from polygraft.prune.mask import compare_masks

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.attach.graft import Graft

Change = DeltaLayers | MaskLayers


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How the differences of two deltas lie to each other at the places that both change."""

    num_opposite: int = 0
    """Places where they have opposite signs."""
    square_a: float = 0.0
    """Sum of the squares of the first one's."""
    square_b: float = 0.0
    dot: float = 0.0
    """Sum of their products."""

    @property
    def norm_a(self) -> float:
        """The length of the first one's differences."""
        return math.sqrt(self.square_a)

    @property
    def norm_b(self) -> float:
        """The length of the second one's."""
        return math.sqrt(self.square_b)

    @property
    def norm_of_sum(self) -> float:
        """The length of what a stack of both adds; `norm_a + norm_b` where they point the same way."""
        return math.sqrt(max(0.0, self.square_a + self.square_b + 2 * self.dot))

    @property
    def cosine(self) -> float | None:
        """Their correlation about zero, -1 to 1; None where one of them is zero."""
        length = self.norm_a * self.norm_b
        return self.dot / length if length else None


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
    num_a_pruned: int
    """Places of the first that the second, a mask, sets to zero; 0 where it is a delta."""
    num_b_pruned: int
    """Places of the second that the first, a mask, sets to zero."""
    num_a_undone: int
    """Places of the first that the second, a mask above it, sets to zero or to values of its own."""
    num_b_undone: int
    """The same of the second under the first."""
    values: Agreement | None
    """Of two deltas."""

    @property
    def share_by_chance(self) -> float:
        """The share of places that are in both on average, if each has its density and is chosen by chance."""
        return self.num_a / self.size * (self.num_b / self.size) if self.size else 0.0

    @property
    def num_by_chance(self) -> float:
        """How many places that is."""
        return self.num_a * self.num_b / self.size if self.size else 0.0

    @property
    def jaccard(self) -> float:
        """Common places over those of either; 0 if there are none."""
        either = self.num_a + self.num_b - self.num_both
        return self.num_both / either if either else 0.0


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two grafts beside each other."""

    kind_a: str
    """The part by which the first one changes weights: delta or mask."""
    kind_b: str
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
        GraftError: One of them changes no weights, has other parts for it than these, or is of another base.
    """
    first, second = find_change(a), find_change(b)
    for info in first.infos:
        other = second.infos[second.index_of[info.name]] if info.name in second.index_of else info
        if info.shape != other.shape:
            raise GraftError(
                f"The weight '{info.name}' has the shape {list(info.shape)} for '{a.name}' and {list(other.shape)} for "
                f"'{b.name}'. Expected two grafts of one base. Name two that were made for the same one."
            )
    names = dict.fromkeys([*first.names, *second.names])
    found = [_compare(name, first, second) for name in names]
    total = _add(found)
    return Comparison(
        kind_a=first.options.kind,
        kind_b=second.options.kind,
        total=total,
        weights=tuple(sorted(found, key=lambda each: (-each.num_both, each.name))),
        sentences=tuple(_tell(a.name, b.name, total, first=first, second=second)),
    )


def _compare(name: str, a: Change, b: Change) -> Overlap:
    marked = [mark_places(each, name).flatten() if name in each.index_of else None for each in (a, b)]
    size = next(len(each) for each in marked if each is not None)
    nothing = torch.zeros(size, dtype=torch.bool)
    first, second = (nothing if each is None else each for each in marked)
    both = first & second
    counts = compare_masks({name: first}, {name: second})
    values = Agreement() if isinstance(a, DeltaLayers) and isinstance(b, DeltaLayers) else None
    a_undone = b_undone = 0
    is_shared = name in a.index_of and name in b.index_of
    if is_shared and isinstance(a, DeltaLayers) and isinstance(b, DeltaLayers):
        common = both.nonzero().flatten()
        values = _measure(*(_read_at(each, name, common) for each in (a, b)))
    if is_shared and isinstance(b, MaskLayers):
        a_undone = count_undone(b, [a], name, size=size)
    if is_shared and isinstance(a, MaskLayers):
        b_undone = count_undone(a, [b], name, size=size)
    return Overlap(
        name=name,
        size=size,
        num_a=counts.num_a,
        num_b=counts.num_b,
        num_both=counts.num_both,
        num_a_pruned=counts.num_a - counts.num_both if is_shared and isinstance(b, MaskLayers) else 0,
        num_b_pruned=counts.num_b - counts.num_both if is_shared and isinstance(a, MaskLayers) else 0,
        num_a_undone=a_undone,
        num_b_undone=b_undone,
        values=values,
    )


def _read_at(layers: DeltaLayers, name: str, common: Tensor) -> Tensor:
    """Give the differences at some of the places of a weight, float64 [K]."""
    places, values = layers.find_places(name), layers.read(name)
    at = common if places is None else torch.searchsorted(places.cpu(), common)
    return values.cpu()[at].double()


def _measure(a: Tensor, b: Tensor) -> Agreement:
    return Agreement(
        num_opposite=int(torch.count_nonzero(a.sign() * b.sign() < 0)),
        square_a=float(a.square().sum()),
        square_b=float(b.square().sum()),
        dot=float(a @ b),
    )


def _add(found: list[Overlap]) -> Overlap:
    values = [each.values for each in found if each.values is not None]
    return Overlap(
        name="all",
        size=sum(each.size for each in found),
        num_a=sum(each.num_a for each in found),
        num_b=sum(each.num_b for each in found),
        num_both=sum(each.num_both for each in found),
        num_a_pruned=sum(each.num_a_pruned for each in found),
        num_b_pruned=sum(each.num_b_pruned for each in found),
        num_a_undone=sum(each.num_a_undone for each in found),
        num_b_undone=sum(each.num_b_undone for each in found),
        values=Agreement(
            num_opposite=sum(each.num_opposite for each in values),
            square_a=math.fsum(each.square_a for each in values),
            square_b=math.fsum(each.square_b for each in values),
            dot=math.fsum(each.dot for each in values),
        )
        if values
        else None,
    )


def _tell(a: str, b: str, total: Overlap, *, first: Change, second: Change) -> list[str]:
    if a == b:
        return [f"A plan names a graft once: it can have one version of '{a}' in it, and no stack of two."]
    if total.values is not None:
        return [
            f"In a stack '{a}' and '{b}' add up, in either order: both change {total.num_both:,} places, "
            f"{total.values.num_opposite:,} of them in opposite directions."
        ]
    return [
        _tell_stack(
            a, b, under=first, over=second, num_undone=total.num_a_undone, num_pruned=total.num_b_pruned
        ),
        _tell_stack(
            b, a, under=second, over=first, num_undone=total.num_b_undone, num_pruned=total.num_a_pruned
        ),
    ]


def _tell_stack(
    below: str, above: str, *, under: Change, over: Change, num_undone: int, num_pruned: int
) -> str:
    """Say what the upper one of two grafts does to the lower one.

    Args:
        below: The lower one's name.
        above: The upper one's.
        under: The lower one's layers.
        over: The upper one's.
        num_undone: Places of the lower one that the upper one, if it is a mask, changes to something else.
        num_pruned: Places of the upper one that the lower one, if it is a mask, sets to zero.
    """
    if isinstance(over, MaskLayers):
        what = "keeps" if isinstance(under, MaskLayers) else "changes"
        return (
            f"In stack({below}, {above}) the mask of '{above}' wins over '{below}' at {num_undone:,} places that "
            f"'{below}' {what}."
        )
    also = f", also at {num_pruned:,} places that '{below}' sets to zero" if num_pruned else ""
    return f"In stack({below}, {above}) the differences of '{above}' are added to what '{below}' left{also}."
