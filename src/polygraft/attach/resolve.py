"""From a plan's names to its grafts, checked and in their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polygraft.attach.heads import find_label_head, find_piece_head
from polygraft.attach.plan import Average, Fuse, Named, Parallel, Plan, Route, Stack
from polygraft.attach.tree import Chain, Fused, Leaf, Mean, Tree, list_stacked, walk_grafts
from polygraft.errors import PlanError
from polygraft.parts.edit import EditLayers
from polygraft.parts.reach import EmbeddingLayers, MixingLayers, ProjectionLayers, SublayerLayers

if TYPE_CHECKING:
    from polygraft.attach.find import Finder
    from polygraft.attach.graft import Graft


def grow_tree(plan: Plan, finder: Finder) -> Tree:
    """Put the grafts into one way through a plan.

    Args:
        plan: A plan without routes and parallels.
        finder: Gives the grafts of its names.

    Raises:
        PlanError: A graft stands where it cannot act or twice, or there are two heads of a kind.
    """
    tree = _grow(plan, finder)
    finder.check_once(plan)
    _check_mixing(plan, tree)
    list_stacked(tree, EditLayers, what="part that changes weights")
    find_label_head(plan, tree)
    find_piece_head(plan, tree)
    return tree


def _grow(plan: Plan, finder: Finder) -> Tree:
    if isinstance(plan, Named):
        return Leaf(finder.find(plan))
    if isinstance(plan, Stack):
        return Chain(tuple(_grow(member, finder) for member in plan.members))
    if isinstance(plan, Fuse):
        return Fused(tuple(_grow(member, finder) for member in plan.members), finder.find(plan.by))
    if isinstance(plan, Average):
        members = tuple(_grow(member, finder) for member in plan.members)
        if plan.of == "outputs":
            _refuse_inverses(plan, members)
            return Mean(members, plan.shares)
        return Leaf(_average_parameters(plan, members, finder))
    assert not isinstance(plan, Parallel | Route)
    raise AssertionError(plan)


def _average_parameters(plan: Average, members: Sequence[Tree], finder: Finder) -> Graft:
    grafts = [member.graft for member in members if isinstance(member, Leaf)]
    if len(grafts) != len(members):
        raise PlanError(
            f"The plan '{plan}' averages the parameters of whole stacks. Expected names of single grafts of one "
            "shape. Stack the averages instead, as in stack(average(a, b), average(c, d)), or say of=outputs."
        )
    return finder.average(plan, grafts)


def _refuse_inverses(plan: Plan, members: Sequence[Tree]) -> None:
    for member in members:
        for graft in walk_grafts(member):
            if _has_inverse(graft):
                raise PlanError(
                    f"The plan '{plan}' averages outputs, and '{graft.name}' has an invertible part: the mean of two "
                    "invertible functions has no inverse that is known. Average the parameters (of=parameters), or "
                    "stack the graft below."
                )


def _refuse_two_inverses(plan: Plan, members: Sequence[Tree]) -> None:
    names = [graft.name for member in members for graft in walk_grafts(member) if _has_inverse(graft)]
    if len(names) > 1:
        raise PlanError(
            f"The plan '{plan}' fuses grafts of which {len(names)} have invertible parts: {', '.join(names)}. Their "
            "changes of the embeddings cannot be mixed, and one at most was expected. Leave the others' invertible "
            "parts out, or stack one of the grafts below."
        )


def _refuse_unmixed(plan: Plan, tree: Fused) -> None:
    """Refuse members that act where the fusion cannot mix them, which would be left out."""
    mixed = {
        place
        for layers in tree.graft.layers.children()
        if isinstance(layers, MixingLayers)
        for place in layers.list_places()
    }
    mixed_layers = {layer for layer, _ in mixed}
    for graft in (graft for member in tree.members for graft in walk_grafts(member)):
        for layers in graft.layers.children():
            acts = [] if not isinstance(layers, SublayerLayers) else layers.list_places()
            missed = sorted(place for place in acts if place[0] in mixed_layers and place not in mixed)
            if isinstance(layers, ProjectionLayers):
                missed = [*layers.list_outputs(), *layers.list_inputs()]
            if missed:
                layer, name = missed[0]
                raise PlanError(
                    f"The plan '{plan}' fuses '{graft.name}', which acts at layer {layer}, {name}, where the fusion of "
                    f"'{tree.graft.name}' mixes nothing. Expected members whose bottlenecks stand where it mixes. "
                    "Stack the graft below the fusion, or train a fusion with placement='attention+ffn' for "
                    "bottlenecks behind both sublayers."
                )


def _has_inverse(graft: Graft) -> bool:
    return bool(graft.list_layers(EmbeddingLayers))


def _check_mixing(plan: Plan, tree: Tree) -> None:
    """Refuse a fusion's graft that is not one, and one that has nothing to mix."""
    if isinstance(tree, Leaf):
        if any(isinstance(layers, MixingLayers) for layers in tree.graft.layers.children()):
            raise PlanError(
                f"The plan '{plan}' has '{tree.graft.name}', which fuses other grafts, by itself. Expected it as "
                f"fuse(..., by={tree.graft.name}) with the grafts that it was trained on. Write them there."
            )
        return
    for member in tree.members:
        _check_mixing(plan, member)
    if isinstance(tree, Fused):
        kinds = [isinstance(layers, MixingLayers) for layers in tree.graft.layers.children()]
        others = [part.kind for part in tree.graft.parts if part.kind not in {"fusion", "head"}]
        if sum(kinds) != 1 or others:
            raise PlanError(
                f"The plan '{plan}' fuses by '{tree.graft.name}', whose parts are "
                f"{', '.join(part.kind for part in tree.graft.parts)}. Expected one fusion, and a head at most. Name a "
                "graft that was trained as a fusion."
            )
        _refuse_two_inverses(plan, tree.members)
        _refuse_unmixed(plan, tree)
