"""Which weights are kept: those with the largest scores, exactly so many, and of equal ones the first."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from polygraft.errors import OptionError
from polygraft.prune.keys import Places, Score, Shapes
from polygraft.prune.largest import keep_largest
from polygraft.prune.mask import Masks
from polygraft.prune.rows import keep_in_rows
from polygraft.prune.scope import Scope, check_n_of_m, check_selection, row_width
from polygraft.prune.share import count_left, round_share


def select(
    shapes: Shapes, score: Score, *, scope: Scope, sparsity: float | None, within: Masks | None = None
) -> dict[str, Tensor]:
    """Keep the weights with the largest scores in a scope, at a sparsity.

    Args:
        shapes: Shapes of the weights. Of equal scores, those of an earlier tensor and an earlier flat position are
            kept.
        score: Gives the scores of one tensor.
        scope: Among which weights the largest are kept.
        sparsity: The share of all weights, not of the candidates, that is pruned: a sparsity of 0.5 leaves
            half of them whatever was pruned before. For N:M it is 1 - N/M, or None.
        within: The only places that may be kept, such as what an earlier round left; None allows all.

    Raises:
        OptionError: The selection cannot be made.
        GraftError: Scores or masks do not fit the weights.

    Example:
        >>> import torch
        >>> from polygraft.prune.scope import parse_scope
        >>> scores = {"w": torch.tensor([1.0, 3.0, 2.0, 3.0])}
        >>> select({"w": (4,)}, scores.__getitem__, scope=parse_scope("global"), sparsity=0.5)
        {'w': tensor([False,  True, False,  True])}
    """
    places = Places(shapes=shapes, score=score, within=within)
    num_candidates = places.num_candidates
    check_selection(shapes, scope=scope, sparsity=sparsity, num_candidates=sum(num_candidates.values()))
    if scope.kind == "n:m":
        return select_n_of_m(shapes, score, n=scope.n, m=scope.m, within=within)
    assert sparsity is not None
    if scope.kind == "global":
        num_weights = sum(math.prod(shape) for shape in shapes.values())
        return keep_largest(places, num_kept=count_left(sparsity, total=num_weights))
    masks: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        size = math.prod(shape)
        width = size if scope.kind == "tensor" else row_width(shape)
        num_kept = count_left(sparsity, total=width)
        if scope.kind == "tensor" or (size and num_candidates[name] == 0):
            _check_candidates(name, scope, num_kept=num_kept, width=width, fewest=num_candidates[name])
        if scope.kind == "tensor":
            masks |= keep_largest(places.only(name), num_kept=num_kept)
        else:
            quota = partial(_keep_equally, name, scope, num_kept=num_kept, width=width)
            masks[name] = keep_in_rows(places, name, width=width, quota=quota)
    return masks


def select_global(
    shapes: Shapes, score: Score, *, num_kept: int, within: Masks | None = None
) -> dict[str, Tensor]:
    """Keep exactly so many weights, those with the largest scores of all tensors together.

    Args:
        shapes: Shapes of the weights. Of equal scores, those of an earlier tensor and an earlier flat position are
            kept.
        score: Gives the scores of one tensor. It is called three times for each; if nothing is kept, never.
        num_kept: How many are kept.
        within: The only places that may be kept; None allows all.

    Raises:
        OptionError: There are fewer candidates than are to be kept, or the number is negative.
        GraftError: Scores or masks do not fit the weights.

    Example:
        >>> import torch
        >>> scores = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([3.0, 0.0])}
        >>> select_global({"a": (2,), "b": (2,)}, scores.__getitem__, num_kept=1)
        {'a': tensor([False,  True]), 'b': tensor([False, False])}
    """
    places = Places(shapes=shapes, score=score, within=within)
    num_candidates = sum(places.num_candidates.values())
    if not 0 <= num_kept <= num_candidates:
        raise OptionError(
            f"num_kept is {num_kept:,}. A whole number from 0 to {num_candidates:,} was expected, the places that may "
            "be kept. Keep fewer, or allow more places."
        )
    return keep_largest(places, num_kept=num_kept)


def select_per_tensor(
    shapes: Shapes, score: Score, *, share_kept: float, within: Masks | None = None
) -> dict[str, Tensor]:
    """Keep the same share of every tensor's candidates, those with its largest scores.

    Args:
        shapes: Shapes of the weights.
        score: Gives the scores of one tensor.
        share_kept: Share of a tensor's candidates that is kept; a half is rounded up.
        within: The only places that may be kept; None allows all.

    Raises:
        OptionError: The share is not between 0 and 1.
        GraftError: Scores or masks do not fit the weights.

    Example:
        >>> import torch
        >>> scores = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([9.0, 8.0])}
        >>> select_per_tensor({"a": (2,), "b": (2,)}, scores.__getitem__, share_kept=0.5)
        {'a': tensor([False,  True]), 'b': tensor([ True, False])}
    """
    _check_share(share_kept)
    places = Places(shapes=shapes, score=score, within=within)
    masks: dict[str, Tensor] = {}
    for name, total in places.num_candidates.items():
        masks |= keep_largest(places.only(name), num_kept=round_share(share_kept, total=total))
    return masks


def select_per_row(
    shapes: Shapes, score: Score, *, share_kept: float, within: Masks | None = None
) -> dict[str, Tensor]:
    """Keep the same share of every row's candidates, those with its largest scores.

    A row is everything with one index of the first axis: what one output of a linear layer is made of. A tensor with
    one axis is a single row.

    Args:
        shapes: Shapes of the weights.
        score: Gives the scores of one tensor.
        share_kept: Share of a row's candidates that is kept; a half is rounded up.
        within: The only places that may be kept; None allows all.

    Raises:
        OptionError: The share is not between 0 and 1.
        GraftError: Scores or masks do not fit the weights.

    Example:
        >>> import torch
        >>> scores = {"w": torch.tensor([[1.0, 3.0], [9.0, 8.0]])}
        >>> select_per_row({"w": (2, 2)}, scores.__getitem__, share_kept=0.5)["w"].tolist()
        [[False, True], [True, False]]
    """
    _check_share(share_kept)
    places = Places(shapes=shapes, score=score, within=within)
    quota = partial(_share_of, share_kept)
    return {
        name: keep_in_rows(places, name, width=row_width(shape), quota=quota)
        for name, shape in shapes.items()
    }


def select_n_of_m(
    shapes: Shapes, score: Score, *, n: int, m: int, within: Masks | None = None
) -> dict[str, Tensor]:
    """Keep the `n` largest of every `m` weights that follow each other along the last axis.

    Processors that skip zeros want them like this, most of them two of four.

    Args:
        shapes: Shapes of the weights.
        score: Gives the scores of one tensor.
        n: How many of a group are kept; a group with fewer candidates keeps those it has.
        m: Weights of a group.
        within: The only places that may be kept; None allows all.

    Raises:
        OptionError: `n` is not from 1 to `m`, or `m` does not divide a last axis.
        GraftError: Scores or masks do not fit the weights.

    Example:
        >>> import torch
        >>> scores = {"w": torch.tensor([1.0, 3.0, 9.0, 8.0])}
        >>> select_n_of_m({"w": (4,)}, scores.__getitem__, n=1, m=2)
        {'w': tensor([False,  True,  True, False])}
    """
    check_n_of_m(shapes, scope=Scope(kind="n:m", n=n, m=m))
    places = Places(shapes=shapes, score=score, within=within)
    quota = partial(np.minimum, n)
    return {name: keep_in_rows(places, name, width=m, quota=quota) for name in shapes}


def _share_of(share: float, num_candidates: NDArray[np.int64]) -> NDArray[np.int64]:
    numbers, which = np.unique(num_candidates, return_inverse=True)
    return np.array([round_share(share, total=int(number)) for number in numbers], dtype=np.int64)[which]


def _keep_equally(
    name: str, scope: Scope, num_candidates: NDArray[np.int64], *, num_kept: int, width: int
) -> NDArray[np.int64]:
    """The same number for every row, if each has so many candidates."""
    _check_candidates(name, scope, num_kept=num_kept, width=width, fewest=int(num_candidates.min()))
    return np.full(len(num_candidates), num_kept, dtype=np.int64)


def _check_candidates(name: str, scope: Scope, *, num_kept: int, width: int, fewest: int) -> None:
    if fewest < num_kept:
        raise OptionError(
            f"A {scope} of {width:,} weights in '{name}' has too few candidates: {fewest:,}, where {num_kept:,} are to "
            "be kept. At least as many were expected. Give a larger sparsity, or choose the scope that the candidates "
            "were chosen in."
        )


def _check_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise OptionError(
            f"share_kept is {share}. A share from 0 to 1 was expected. Give one, for example 0.5."
        )
