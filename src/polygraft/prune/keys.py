"""Scores read as whole numbers of the same order, chunk after chunk, so that nothing of all tensors is held."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polygraft.errors import GraftError
from polygraft.prune.mask import Masks, check_masks

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of each weight, by its name. Their order decides between equal scores."""

Score = Callable[[str], Tensor]
"""Gives the scores of one tensor by its name, in the tensor's shape: the larger, the more worth keeping.

It is called up to six times for a tensor and must give the same each time. Any float dtype does; infinities are
allowed.
"""

Keys = NDArray[np.signedinteger]
"""Whole numbers of 32 or 64 bits."""

CHUNK = 1 << 18
"""Scores looked at together: few enough that what is computed of them stays in the processor's cache."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some scores of one tensor.

    Args:
        start: Flat position of the first.
        keys: Whole numbers [N] in the order of the scores.
        allowed: Which of them may be kept [N]; None where all may.
    """

    start: int
    keys: Keys
    allowed: NDArray[np.bool_] | None


@dataclass(frozen=True, kw_only=True)
class Places:
    """The places that may be kept, and their scores.

    Args:
        shapes: Shapes of the weights.
        score: Gives the scores of one of them.
        within: The only places that may be kept; None allows all.

    Raises:
        GraftError: A mask does not fit its weight.
    """

    shapes: Shapes
    score: Score
    within: Masks | None

    def __post_init__(self) -> None:
        check_masks(self.within or {}, shapes=self.shapes)

    @cached_property
    def num_candidates(self) -> dict[str, int]:
        """Places of each tensor that may be kept."""
        sizes = {name: math.prod(shape) for name, shape in self.shapes.items()}
        if self.within is None:
            return sizes
        return {
            name: int(torch.count_nonzero(self.within[name])) if name in self.within else 0 for name in sizes
        }

    def only(self, name: str) -> Places:
        """Give the places of one tensor."""
        within = (
            None if self.within is None else {key: self.within[key] for key in self.within if key == name}
        )
        return Places(shapes={name: self.shapes[name]}, score=self.score, within=within)

    def read(self, name: str, *, size: int | None = None, is_wide: bool = False) -> Iterator[Chunk]:
        """Read the scores of one tensor in chunks.

        The tensor that the score gave lives as long as the iterator. A tensor without candidates has no chunks.

        Args:
            name: The tensor's name.
            size: Scores of a chunk; None takes `CHUNK`.
            is_wide: Whether all keys have 64 bits. Without, they have 64 for float64 and 32 for all others.

        Raises:
            GraftError: The scores are of another shape, are not floats, or hold NaN.
        """
        if self.num_candidates[name] == 0:
            return
        values = self._score(name)
        allowed = None if self.within is None else self.within[name].detach().reshape(-1)
        size = size or CHUNK
        dtype = torch.float64 if is_wide or values.dtype == torch.float64 else torch.float32
        for start in range(0, len(values), size):
            part = values[start : start + size].to(device="cpu", dtype=dtype).numpy()
            keys = order_keys(part)
            if keys is None:
                raise GraftError(
                    f"The scores of '{name}' hold NaN, first at the flat position "
                    f"{start + int(np.isnan(part).argmax())}. Numbers or infinities were expected, because NaN is "
                    "neither larger nor smaller than another score. Look for a loss or a gradient that is not finite."
                )
            yield Chunk(
                start=start,
                keys=keys,
                allowed=None if allowed is None else allowed[start : start + size].cpu().numpy(),
            )

    def _score(self, name: str) -> Tensor:
        """The scores of a tensor, flat [N]."""
        values = self.score(name).detach()
        if tuple(values.shape) != tuple(self.shapes[name]):
            raise GraftError(
                f"The scores of '{name}' have the shape {tuple(values.shape)}, and the weight has "
                f"{tuple(self.shapes[name])}. One score for each weight was expected. Give scores that were made for "
                "these weights."
            )
        if not values.dtype.is_floating_point:
            raise GraftError(
                f"The scores of '{name}' are of the dtype {str(values.dtype).removeprefix('torch.')}. "
                "float32, bfloat16, float16 or float64 was expected. Convert them, for example by `.float()`."
            )
        return values.reshape(-1)


def order_keys(scores: NDArray[np.float32] | NDArray[np.float64]) -> Keys | None:
    """Turn scores [N] into whole numbers of as many bits that have the same order; None where one is NaN.

    A float is a sign and a magnitude, and its magnitude's bits, read as a whole number, grow with it. So the bits
    of a positive number are its key, and those of a negative one, negated, are its own. -0.0 and 0.0 both give 0.

    Example:
        >>> order_keys(np.array([-np.inf, -1.0, -0.0, 0.0, 2.0], dtype=np.float32)).tolist()
        [-2139095040, -1065353216, 0, 0, 1073741824]
    """
    is_wide = scores.dtype == np.float64
    whole, last = (np.int64, 63) if is_wide else (np.int32, 31)
    infinity = 0x7FF0_0000_0000_0000 if is_wide else 0x7F80_0000
    keys = scores.view(whole)
    if keys.min(initial=0) < 0:
        sign = keys >> last
        keys = (keys ^ (sign & np.iinfo(whole).max)) - sign
    is_in_order = keys.min(initial=0) >= -infinity and keys.max(initial=0) <= infinity
    return keys if is_in_order else None
