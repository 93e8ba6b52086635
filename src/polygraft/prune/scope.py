"""Scopes: among which weights the ones that are kept are chosen, and whether that can be done."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from typing_extensions import override

from polygraft.errors import OptionError, nearest
from polygraft.prune.share import count_left

if TYPE_CHECKING:
    from polygraft.prune.keys import Shapes

KINDS = ("global", "tensor", "row")
N_OF_M = re.compile(r"([0-9]{1,4}):([0-9]{1,4})")
A_SHARE = "A number from 0 up to but not including 1 was expected, the share of weights that is pruned."


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Among which weights the largest are kept; `str()` gives the text that `parse_scope` reads.

    Args:
        kind: All weights together, each tensor, each row, or each group of M.
        n: How many of a group are kept; 0 for the other kinds.
        m: Weights of a group, next to each other along the last axis; 0 for the other kinds.
    """

    kind: Literal["global", "tensor", "row", "n:m"]
    n: int = 0
    m: int = 0

    @override
    def __str__(self) -> str:
        return f"{self.n}:{self.m}" if self.kind == "n:m" else self.kind


def parse_scope(text: str) -> Scope:
    """Read a scope: `global`, `tensor`, `row`, or N:M such as `2:4`.

    Raises:
        OptionError: The text is not a scope.

    Example:
        >>> parse_scope("2:4")
        Scope(kind='n:m', n=2, m=4)
    """
    found = N_OF_M.fullmatch(text)
    if found is not None:
        return Scope(kind="n:m", n=int(found[1]), m=int(found[2]))
    if text not in KINDS:
        raise OptionError(
            f"The scope '{text}' is not known. {', '.join(KINDS)} or N:M was expected.{nearest(text, KINDS)} "
            "Write one of them, for example 2:4 to keep two of every four weights."
        )
    return Scope(kind=text)


def row_width(shape: tuple[int, ...]) -> int:
    """Give the number of weights of a row: all but the first axis, or the whole tensor if it has one axis or none.

    Example:
        >>> row_width((3, 2, 4)), row_width((5,)), row_width(())
        (8, 5, 1)
    """
    return math.prod(shape[1:] if len(shape) > 1 else shape)


def count_kept(shapes: Shapes, *, scope: Scope, sparsity: float | None) -> int:
    """Count the weights that a scope keeps at a sparsity, if all of them are candidates.

    Args:
        shapes: Shapes of the weights.
        scope: Among which weights the largest are kept.
        sparsity: The share of weights that is pruned; None for N:M.

    Example:
        >>> count_kept({"a": (3,), "b": (2, 3)}, scope=parse_scope("row"), sparsity=0.5)
        6
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    if scope.kind == "n:m":
        return sum(size // scope.m * scope.n for size in sizes.values())
    assert sparsity is not None
    if scope.kind == "global":
        return count_left(sparsity, total=sum(sizes.values()))
    if scope.kind == "tensor":
        return sum(count_left(sparsity, total=size) for size in sizes.values())
    widths = {name: row_width(shapes[name]) for name, size in sizes.items() if size}
    return sum(sizes[name] // width * count_left(sparsity, total=width) for name, width in widths.items())


def check_selection(
    shapes: Shapes, *, scope: Scope, sparsity: float | None, num_candidates: int | None = None
) -> None:
    """Refuse a selection that cannot be made, before anything is computed.

    Args:
        shapes: Shapes of the weights.
        scope: Among which weights the largest are kept.
        sparsity: The share of all weights that is pruned; None for N:M.
        num_candidates: Places that may be kept; None stands for all.

    Raises:
        OptionError: There is nothing to choose from, or the scope or the sparsity cannot be meant.
    """
    num_weights = sum(math.prod(shape) for shape in shapes.values())
    if num_weights == 0:
        raise OptionError(
            f"The tensors to choose from ({', '.join(shapes) or 'none'}) have no weights. At least one weight was "
            "expected. Check the pattern that names the tensors."
        )
    if scope.kind == "n:m":
        check_n_of_m(shapes, scope=scope, sparsity=sparsity)
    elif sparsity is None:
        raise OptionError(f"The scope '{scope}' has no sparsity. {A_SHARE} Give one, for example 0.5.")
    elif not 0 <= sparsity < 1:
        raise OptionError(f"sparsity is {sparsity}. {A_SHARE} Give one, for example 0.5.")
    num_kept = count_kept(shapes, scope=scope, sparsity=sparsity)
    if num_kept == 0:
        raise OptionError(
            f"A sparsity of {sparsity} in the scope '{scope}' leaves none of {num_weights:,} weights. At least one was "
            "expected. Give a smaller sparsity."
        )
    # Groups that have fewer candidates than N keep those they have.
    num_needed = 1 if scope.kind == "n:m" else num_kept
    if num_candidates is not None and num_candidates < num_needed:
        raise OptionError(
            f"{num_kept:,} of {num_weights:,} weights are to be kept, and {num_candidates:,} of them are candidates. "
            f"At least {num_needed:,} were expected. Give a larger sparsity, or more candidates."
        )


def check_n_of_m(shapes: Shapes, *, scope: Scope, sparsity: float | None = None) -> None:
    """Refuse groups that cannot be made.

    Args:
        shapes: Shapes of the weights.
        scope: How many of how many are kept.
        sparsity: The share that is pruned, which follows from the scope; None asks nothing of it.

    Raises:
        OptionError: N is not from 1 to M, M does not divide a last axis, or the sparsity is another one.
    """
    if not 1 <= scope.n <= scope.m:
        raise OptionError(
            f"The scope '{scope}' keeps {scope.n} of every {scope.m} weights. N from 1 to M was expected. Write for "
            "example 2:4."
        )
    own = 1 - scope.n / scope.m
    if sparsity is not None and not math.isclose(sparsity, own, abs_tol=1e-9):
        raise OptionError(
            f"sparsity is {sparsity}, and the scope '{scope}' prunes {own:g}. The same share was expected, or none. "
            "Leave the sparsity out, or choose another scope."
        )
    for name, shape in shapes.items():
        last = shape[-1] if shape else 1
        if last % scope.m:
            raise OptionError(
                f"The last axis of '{name}' has {last} weights. A multiple of {scope.m} was expected for the scope "
                f"'{scope}'. Leave '{name}' out, or choose one of the scopes {', '.join(KINDS)}."
            )
