"""The so many largest of all scores, exactly, without sorting and without a copy: a search digit by digit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polygraft.prune.keys import Chunk, Keys, Places

DIGIT = 16
"""Bits that one pass over the scores settles. The counts of one pass, 512 kB, stay in the cache."""
HALF = 1 << (DIGIT - 1)


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """What decides whether a place is kept.

    Args:
        key: Places with larger keys are kept.
        num_equal: Places with exactly this key that are kept as well, the first ones.
        is_wide: Whether keys have 64 bits.
    """

    key: int
    num_equal: int
    is_wide: bool


def keep_largest(places: Places, *, num_kept: int) -> dict[str, Tensor]:
    """Give masks of the places with the largest scores.

    Args:
        places: The places and their scores.
        num_kept: How many are kept: at most as many as there are candidates, of whom equal ones are taken in order.
    """
    masks = {name: torch.zeros(shape, dtype=torch.bool) for name, shape in places.shapes.items()}
    if num_kept == 0:
        return masks
    threshold = find_threshold(places, num_kept=num_kept)
    num_left = threshold.num_equal
    for name, mask in masks.items():
        num_left -= _fill(mask, places, name, threshold=threshold, num_left=num_left)
    return masks


def find_threshold(places: Places, *, num_kept: int) -> Threshold:
    """Find the key of the last place that is kept.

    Every pass counts how often each value of the next 16 bits occurs among the keys that agree with what is known so
    far, and so settles these bits: two passes for 32 bits, four for 64.

    Args:
        places: The places and their scores.
        num_kept: How many are kept, at least one.
    """
    found = _search(places, num_kept=num_kept, is_wide=False)
    if found is None:
        found = _search(places, num_kept=num_kept, is_wide=True)
    assert found is not None
    return found


def _search(places: Places, *, num_kept: int, is_wide: bool) -> Threshold | None:
    """The threshold, or None where keys of 32 bits were wanted and a tensor has scores in float64."""
    known: int | None = None
    for shift in range((64 if is_wide else 32) - DIGIT, -1, -DIGIT):
        counts = _count(places, known=known, shift=shift, is_wide=is_wide)
        if counts is None:
            return None
        from_top = np.cumsum(counts[::-1])
        num_digits_above = int(np.searchsorted(from_top, num_kept))
        digit = len(counts) - 1 - num_digits_above
        num_kept -= int(from_top[num_digits_above] - counts[digit])
        known = digit - HALF if known is None else (known << DIGIT) + digit
    assert known is not None
    return Threshold(key=known, num_equal=num_kept, is_wide=is_wide)


def _count(places: Places, *, known: int | None, shift: int, is_wide: bool) -> NDArray[np.int64] | None:
    """How often each digit occurs at `shift` among the candidates whose higher digits are `known`."""
    counts = np.zeros(1 << DIGIT, dtype=np.int64)
    for name in places.shapes:
        for chunk in places.read(name, is_wide=is_wide):
            if chunk.keys.dtype == np.int64 and not is_wide:
                return None
            counts += np.bincount(_digits(chunk, known=known, shift=shift), minlength=len(counts))
    return counts


def _digits(chunk: Chunk, *, known: int | None, shift: int) -> Keys:
    keys = chunk.keys if chunk.allowed is None else chunk.keys[chunk.allowed]
    if known is None:
        return (keys >> shift) + HALF
    keys = keys[(keys >> (shift + DIGIT)) == known]
    return (keys >> shift) & (2 * HALF - 1)


def _fill(mask: Tensor, places: Places, name: str, *, threshold: Threshold, num_left: int) -> int:
    """Set what is kept of one tensor; gives how many of them have exactly the threshold's key."""
    flat = mask.view(-1).numpy()
    num_taken = 0
    for chunk in places.read(name, is_wide=threshold.is_wide):
        part = flat[chunk.start : chunk.start + len(chunk.keys)]
        np.greater(chunk.keys, threshold.key, out=part)
        if chunk.allowed is not None:
            part &= chunk.allowed
        if num_taken < num_left:
            is_equal = chunk.keys == threshold.key
            if chunk.allowed is not None:
                is_equal &= chunk.allowed
            equal = np.flatnonzero(is_equal)[: num_left - num_taken]
            part[equal] = True
            num_taken += len(equal)
    return num_taken
