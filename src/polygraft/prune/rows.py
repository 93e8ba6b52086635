"""The largest scores of every row by itself, where a tensor is cut into rows of one length."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polygraft.prune.keys import CHUNK, Chunk, Keys, Places

Quota = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""Turns how many candidates each row has [R] into how many of them it keeps [R]."""


def keep_in_rows(places: Places, name: str, *, width: int, quota: Quota) -> Tensor:
    """Give the mask of one tensor whose rows each keep their own largest scores.

    Args:
        places: The places and their scores.
        name: The tensor's name.
        width: Length of a row, which divides the tensor's size.
        quota: Says how many a row keeps, at most its candidates.
    """
    shape = places.shapes[name]
    mask = torch.zeros(shape, dtype=torch.bool)
    if math.prod(shape) == 0:
        return mask
    flat = mask.view(-1).numpy()
    for chunk in places.read(name, size=width * max(1, CHUNK // width)):
        kept = _keep(chunk, width=width, quota=quota)
        flat[chunk.start : chunk.start + len(chunk.keys)] = kept.reshape(-1)
    return mask


def _keep(chunk: Chunk, *, width: int, quota: Quota) -> NDArray[np.bool_]:
    """What some rows keep [R, W]: the keys above a row's threshold, and the first ones that are equal to it."""
    keys: Keys = chunk.keys.reshape(-1, width)
    if chunk.allowed is None:
        num_candidates = np.full(len(keys), width, dtype=np.int64)
    else:
        allowed = chunk.allowed.reshape(-1, width)
        num_candidates = allowed.sum(axis=1, dtype=np.int64)
        # Below the key of -inf, and so never among the largest.
        keys = np.where(allowed, keys, np.iinfo(keys.dtype).min)
    num_kept = quota(num_candidates)
    in_order = np.sort(keys, axis=1)
    last = np.take_along_axis(in_order, np.minimum(width - num_kept, width - 1)[:, None], axis=1)
    # Above the key of +inf: such a row keeps nothing.
    last[num_kept == 0] = np.iinfo(keys.dtype).max
    kept = keys > last
    is_equal = keys == last
    num_equal = num_kept[:, None] - kept.sum(axis=1, dtype=np.int64)[:, None]
    kept |= is_equal & (np.cumsum(is_equal, axis=1, dtype=np.int32) <= num_equal)
    return kept
