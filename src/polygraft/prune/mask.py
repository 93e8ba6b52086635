"""Masks: which weights of which tensors, and what can be said of two of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from polygraft.errors import GraftError

Masks = Mapping[str, Tensor]
"""A bool tensor for each weight's name, of the weight's shape. A name that is missing stands for nothing there."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many places of one tensor two masks hold.

    Args:
        num_a: Places of the first mask.
        num_b: Places of the second.
        num_both: Places that are in both.
    """

    num_a: int
    num_b: int
    num_both: int


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """How far two masks agree.

    Args:
        num_a: Places of the first mask.
        num_b: Places of the second.
        num_both: Places that are in both.
        jaccard: `num_both` as a share of the places that are in either; 1 where both hold nothing.
        by_name: The same counts for each tensor.
    """

    num_a: int
    num_b: int
    num_both: int
    jaccard: float
    by_name: Mapping[str, Counts]


def unite(a: Masks, b: Masks) -> dict[str, Tensor]:
    """Give the places that are in either mask.

    Raises:
        GraftError: A mask holds no bools, or the shapes of one tensor differ.

    Example:
        >>> unite({"w": torch.tensor([True, False])}, {"w": torch.tensor([False, False])})
        {'w': tensor([ True, False])}
    """
    return _combine(a, b, torch.logical_or)


def intersect(a: Masks, b: Masks) -> dict[str, Tensor]:
    """Give the places that are in both masks.

    Raises:
        GraftError: A mask holds no bools, or the shapes of one tensor differ.

    Example:
        >>> intersect({"w": torch.tensor([True, False])}, {"w": torch.tensor([True, True])})
        {'w': tensor([ True, False])}
    """
    return _combine(a, b, torch.logical_and)


def subtract(a: Masks, b: Masks) -> dict[str, Tensor]:
    """Give the places of the first mask that are not in the second.

    Raises:
        GraftError: A mask holds no bools, or the shapes of one tensor differ.

    Example:
        >>> subtract({"w": torch.tensor([True, True])}, {"w": torch.tensor([True, False])})
        {'w': tensor([False,  True])}
    """
    return _combine(a, b, torch.gt)


def invert(masks: Masks) -> dict[str, Tensor]:
    """Give the other places of the tensors that are named.

    Raises:
        GraftError: A mask holds no bools.

    Example:
        >>> invert({"w": torch.tensor([True, False])})
        {'w': tensor([False,  True])}
    """
    check_masks(masks)
    return {name: ~mask for name, mask in masks.items()}


def count_places(masks: Masks) -> int:
    """Count the places that a mask holds.

    Raises:
        GraftError: A mask holds no bools.

    Example:
        >>> count_places({"w": torch.tensor([True, False]), "b": torch.tensor([True])})
        2
    """
    check_masks(masks)
    return sum(_count(mask) for mask in masks.values())


def measure_density(masks: Masks) -> float:
    """Give the share of places that a mask holds, among all places of its tensors; 0 where there are none.

    Raises:
        GraftError: A mask holds no bools.

    Example:
        >>> measure_density({"w": torch.tensor([True, False, False, False])})
        0.25
    """
    total = sum(mask.numel() for mask in masks.values())
    return count_places(masks) / total if total else 0.0


def compare_masks(a: Masks, b: Masks) -> Overlap:
    """Count how far two masks agree, in all and for each tensor.

    Raises:
        GraftError: A mask holds no bools, or the shapes of one tensor differ.

    Example:
        >>> compare_masks({"w": torch.tensor([True, True])}, {"w": torch.tensor([True, False])}).jaccard
        0.5
    """
    by_name = {
        name: Counts(num_a=_count(first), num_b=_count(second), num_both=_count(first & second))
        for name, first, second in _pairs(a, b)
    }
    num_a, num_b, num_both = (
        sum(counts.num_a for counts in by_name.values()),
        sum(counts.num_b for counts in by_name.values()),
        sum(counts.num_both for counts in by_name.values()),
    )
    num_either = num_a + num_b - num_both
    jaccard = num_both / num_either if num_either else 1.0
    return Overlap(num_a=num_a, num_b=num_b, num_both=num_both, jaccard=jaccard, by_name=by_name)


def check_masks(masks: Masks, *, shapes: Mapping[str, tuple[int, ...]] | None = None) -> None:
    """Refuse masks that are not made of bools, or do not have the shapes of the weights.

    Args:
        masks: The masks. Names that `shapes` does not have are not looked at further.
        shapes: Shapes of the weights; None looks at the masks alone.

    Raises:
        GraftError: A mask does not fit.
    """
    for name, mask in masks.items():
        if mask.dtype != torch.bool:
            raise GraftError(
                f"The mask of '{name}' holds {str(mask.dtype).removeprefix('torch.')}. A tensor of bool was "
                "expected, true at the places that are meant. Compare the values first, for example `mask != 0`."
            )
        if shapes is not None and name in shapes and tuple(mask.shape) != tuple(shapes[name]):
            raise GraftError(
                f"The mask of '{name}' has the shape {tuple(mask.shape)}, and the weight has "
                f"{tuple(shapes[name])}. One bool for each weight was expected. Use a mask that was made for these "
                "weights."
            )


def _combine(a: Masks, b: Masks, operation: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Tensor]:
    return {name: operation(first, second) for name, first, second in _pairs(a, b)}


def _pairs(a: Masks, b: Masks) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Both masks of every name, those of the first before those that only the second has."""
    check_masks(a)
    check_masks(b)
    for name in [*a, *(name for name in b if name not in a)]:
        first, second = a.get(name), b.get(name)
        if first is None or second is None:
            known = b[name] if first is None else first
            nothing = torch.zeros_like(known)
            first, second = (nothing, known) if first is None else (known, nothing)
        if first.shape != second.shape:
            raise GraftError(
                f"The masks of '{name}' have the shapes {tuple(first.shape)} and {tuple(second.shape)}. One shape "
                "was expected. Compare masks that were made for the same weights."
            )
        yield name, first, second


def _count(mask: Tensor) -> int:
    return int(torch.count_nonzero(mask))
