"""A plan with its grafts: who changes what comes by at a place, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from torch import Tensor, nn

from polygraft.errors import PlanError

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft


@dataclass(frozen=True, eq=False)
class Leaf:
    """One graft."""

    graft: Graft


@dataclass(frozen=True, eq=False)
class Chain:
    """One after the other, the first one first."""

    members: tuple[Tree, ...]


@dataclass(frozen=True, eq=False)
class Mean:
    """All from the same input, their outputs averaged."""

    members: tuple[Tree, ...]
    weights: tuple[float, ...]
    """One a member; their sum is 1."""


@dataclass(frozen=True, eq=False)
class Fused:
    """All from the same input, their outputs mixed by what a fusion's graft has learned."""

    members: tuple[Tree, ...]
    graft: Graft


Tree = Leaf | Chain | Mean | Fused
Kind = TypeVar("Kind")


def describe_shared(tree: Tree | None, shared: Collection[Graft]) -> object:
    """Give what a tree makes of some of its grafts: equal for trees that do the same with them, in the same order.

    Args:
        tree: The tree; None has none.
        shared: The grafts; the others count as doing nothing.
    """
    if tree is None:
        return None
    if isinstance(tree, Leaf):
        return id(tree.graft) if tree.graft in shared else None
    found = [describe_shared(member, shared) for member in tree.members]
    if all(each is None for each in found):
        return None
    if isinstance(tree, Chain):
        left = tuple(each for each in found if each is not None)
        return left[0] if len(left) == 1 else ("chain", *_flatten(left))
    if isinstance(tree, Mean):
        return ("mean", tree.weights, *found)
    return ("fused", id(tree.graft), *found)


def _flatten(found: Sequence[object]) -> Iterator[object]:
    """Go through what stands in a chain; chains in it are part of it."""
    for each in found:
        if isinstance(each, tuple) and each[0] == "chain":
            yield from each[1:]
        else:
            yield each


class Act(Protocol):
    """What layers do at one place."""

    def apply(self, layers: nn.Module, h: Tensor) -> Tensor:
        """Change what comes by."""
        ...

    def mix(self, layers: nn.Module, h: Tensor, outputs: Sequence[Tensor]) -> Tensor:
        """Mix the outputs that several members made of what comes by."""
        ...


Step = Callable[[Tensor, Act], Tensor]
"""Changes what comes by at one place."""


def walk_grafts(tree: Tree) -> Iterator[Graft]:
    """Go through the grafts of a tree, lowest first; that of a fusion comes after its members."""
    if isinstance(tree, Leaf):
        yield tree.graft
        return
    for member in tree.members:
        yield from walk_grafts(member)
    if isinstance(tree, Fused):
        yield tree.graft


def list_stacked(tree: Tree | None, kind: type[Kind], *, what: str) -> list[Kind]:
    """List the layers of a kind that act beside the outputs that averages and fusions mix, those of the lowest first.

    Args:
        tree: The tree; None has none.
        kind: The kind.
        what: What errors call such layers.

    Raises:
        PlanError: Some are in an average or a fusion.
    """
    if tree is None:
        return []
    if isinstance(tree, Leaf):
        return tree.graft.list_layers(kind)
    found = [layers for member in tree.members for layers in list_stacked(member, kind, what=what)]
    if found and not isinstance(tree, Chain):
        raise PlanError(
            f"A {what} stands inside an average or a fusion, whose members act on one output. Expected it in a stack. "
            f"Stack the graft with the {what} below."
        )
    return found


def localise(tree: Tree, *, find: Callable[[Graft], Sequence[nn.Module]]) -> Step | None:
    """Give what a tree does at one place, or None where it does nothing.

    Args:
        tree: The tree.
        find: Gives the layers of a graft that are at the place.
    """
    if isinstance(tree, Leaf):
        found = find(tree.graft)
        return _make_leaf(found) if found else None
    steps = [localise(member, find=find) for member in tree.members]
    if all(step is None for step in steps):
        return None
    if isinstance(tree, Chain):
        return _make_chain([step for step in steps if step is not None])
    if isinstance(tree, Mean):
        return _make_mean(steps, tree.weights)
    # Where the fusion has no layers of its own its members do nothing: what they gave could not be mixed.
    mixing = find(tree.graft)
    return _make_fusion(steps, mixing[0]) if mixing else None


def localise_all(
    members: Sequence[Tree | None], *, find: Callable[[Graft], Sequence[nn.Module]]
) -> list[Step | None]:
    """Give what each of several trees does at one place; None where there is no tree, or it does nothing."""
    return [None if tree is None else localise(tree, find=find) for tree in members]


def _make_leaf(found: Sequence[nn.Module]) -> Step:
    def step(h: Tensor, act: Act) -> Tensor:
        for layers in found:
            h = act.apply(layers, h)
        return h

    return step


def _make_chain(steps: Sequence[Step]) -> Step:
    if len(steps) == 1:
        return steps[0]

    def step(h: Tensor, act: Act) -> Tensor:
        for each in steps:
            h = each(h, act)
        return h

    return step


def _make_mean(steps: Sequence[Step | None], weights: Sequence[float]) -> Step:
    def step(h: Tensor, act: Act) -> Tensor:
        # Around what comes by, so that members that do nothing here cost nothing and change nothing.
        total = h
        for each, weight in zip(steps, weights, strict=True):
            if each is not None:
                total = total + (each(h, act) - h) * weight
        return total

    return step


def _make_fusion(steps: Sequence[Step | None], mixing: nn.Module) -> Step:
    def step(h: Tensor, act: Act) -> Tensor:
        return act.mix(mixing, h, [h if each is None else each(h, act) for each in steps])

    return step
