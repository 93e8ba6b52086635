"""How many weights tasks take that are packed one after the other, and which stand below which."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polygraft.errors import OptionError
from polygraft.prune.scope import check_selection, parse_scope, row_width
from polygraft.prune.share import complement, round_share
from polygraft.report.summary import PackedSummary

if TYPE_CHECKING:
    from polygraft.prune.scope import Scope
    from polygraft.recipe.methods import PackNet
    from polygraft.recipe.schema import Recipe
    from polygraft.store.fields import JsonValue

TAKEN, LEFT, ALL = "weights_taken", "capacity_left", "weights_in_all"
"""What a manifest calls the number of a task's own weights, the share that is free after it, and the number of all."""


@dataclass(frozen=True, kw_only=True)
class Packed:
    """What a task takes and what it leaves."""

    name: str
    num_own: int
    """Weights that are its own."""
    num_free: int
    """Weights that are still free after it."""


def list_below(recipe: Recipe, name: str) -> tuple[str, ...]:
    """List the tasks that are packed before one, in the order of the recipe.

    Args:
        recipe: Whose tasks are packed.
        name: One of them.
    """
    names = list(recipe.tasks)
    return tuple(names[: names.index(name)])


def read_packed(facts: Mapping[str, JsonValue]) -> PackedSummary | None:
    """Give what a task took, as its manifest tells it; None of a graft that was not packed.

    Args:
        facts: The manifest's hyperparameters.
    """
    own, total, left = (facts.get(key) for key in (TAKEN, ALL, LEFT))
    if not isinstance(own, int) or not isinstance(total, int) or not isinstance(left, int | float):
        return None
    return PackedSummary(own=own, total=total, left=float(left))


def count_packed(
    method: PackNet, shapes: Mapping[str, tuple[int, ...]], names: Sequence[str]
) -> list[Packed]:
    """Count what each of some tasks takes when they are packed one after the other; no weight is looked at.

    Which weights a task keeps depends on its training, how many does not.

    Args:
        method: How much each gives back.
        shapes: Shapes of the weights that they are packed into.
        names: The tasks, the first one first.

    Raises:
        OptionError: A task would find no free weight or keep none, or the scope is not for several tasks.

    Example:
        >>> from polygraft.recipe.methods import PackNet
        >>> [each.num_free for each in count_packed(PackNet(), {"w": (4, 2)}, ["ner", "pos"])]
        [4, 2]
    """
    scope, share = parse_scope(method.scope), complement(method.sparsity)
    counted: list[Packed] = []
    groups: list[tuple[int, int]] = []
    for number, name in enumerate(names):
        check_scope(method, shapes, name, is_first=not number)
        groups = groups or _list_groups(shapes, scope)
        before = sum(count * free for count, free in groups)
        check_free(name, names[:number], num_free=before)
        own = [scope.n if scope.m else round_share(share, total=free) for _, free in groups]
        groups = [(count, free - taken) for (count, free), taken in zip(groups, own, strict=True)]
        num_free = sum(count * free for count, free in groups)
        check_own(method, name, num_own=before - num_free, num_free=before)
        counted.append(Packed(name=name, num_own=before - num_free, num_free=num_free))
    return counted


def check_scope(method: PackNet, shapes: Mapping[str, tuple[int, ...]], name: str, *, is_first: bool) -> None:
    """Refuse a scope in which a task cannot choose its weights.

    Args:
        method: Says the scope.
        shapes: Shapes of the weights.
        name: The task.
        is_first: Whether nothing was packed before it.

    Raises:
        OptionError: It cannot choose there.
    """
    scope = parse_scope(method.scope)
    check_selection(shapes, scope=scope, sparsity=method.sparsity)
    if scope.kind == "n:m" and not is_first:
        raise OptionError(
            f"The scope '{scope}' chooses among whole groups of weights, and the tasks below '{name}' have taken "
            "some of each. Expected global, tensor or row. Choose one of them."
        )


def check_free(name: str, below: Iterable[str], *, num_free: int) -> None:
    """Refuse a task for which no weight is left.

    Args:
        name: The task.
        below: The grafts that were packed before it.
        num_free: How many weights these left.

    Raises:
        OptionError: It is none.
    """
    if not num_free:
        raise OptionError(
            f"No weight is left for '{name}': the grafts {', '.join(below)} have taken all of them. "
            "Expected free ones. Pack the tasks below with a higher sparsity."
        )


def check_own(method: PackNet, name: str, *, num_own: int, num_free: int) -> None:
    """Refuse a task that would keep nothing.

    Args:
        method: How much it gives back.
        name: The task.
        num_own: How many weights it would keep.
        num_free: How many are free before it.

    Raises:
        OptionError: It is none.
    """
    if not num_own:
        raise OptionError(
            f"A sparsity of {method.sparsity:g} in the scope '{method.scope}' leaves '{name}' none of the "
            f"{num_free:,} weights that are free. At least one was expected. Give a smaller sparsity."
        )


def _list_groups(shapes: Mapping[str, tuple[int, ...]], scope: Scope) -> list[tuple[int, int]]:
    """List the groups among which is chosen, as (number of groups, weights of each)."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items() if math.prod(shape)}
    match scope.kind:
        case "global":
            return [(1, sum(sizes.values()))]
        case "tensor":
            return [(1, size) for size in sizes.values()]
        case "row":
            return [
                (size // row_width(shapes[name]), row_width(shapes[name])) for name, size in sizes.items()
            ]
        case _:
            return [(size // scope.m, scope.m) for size in sizes.values()]
