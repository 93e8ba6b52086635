"""From a plan's names to its grafts: found, checked, and in their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from polygraft.attach.graft import Graft, check_made_for, rebuild_graft
from polygraft.attach.plan import Average, Fuse, Named, Parallel, Plan, Route, Stack
from polygraft.attach.tree import Chain, Fused, Leaf, Mean, Tree, list_stacked, walk_grafts
from polygraft.errors import PlanError, nearest
from polygraft.parts.edit import EditLayers
from polygraft.parts.head import HeadLayers, PieceHeadLayers
from polygraft.parts.mask import Mask
from polygraft.parts.reach import EmbeddingLayers, MixingLayers, ProjectionLayers, SublayerLayers

if TYPE_CHECKING:
    from torch import nn

    from polygraft.base.base import Base
    from polygraft.store.store import Store

HEADS: Mapping[str, type[nn.Module]] = {"labels": HeadLayers, "masked language modelling": PieceHeadLayers}
"""The kinds of heads, of each of which one way through a plan has one at most."""

Find = Callable[[Named], Graft]


def grow_tree(base: Base, plan: Plan, find: Find) -> Tree:
    """Put the grafts into one way through a plan.

    Args:
        base: The base.
        plan: A plan without routes and parallels.
        find: Gives the graft of a name.

    Raises:
        PlanError: A graft stands where it cannot act, or there are two heads of a kind.
    """
    tree = _grow(base, plan, find)
    _check_mixing(plan, tree)
    list_stacked(tree, EditLayers, what="part that changes weights")
    grafts = list(walk_grafts(tree))
    for kind, layers in HEADS.items():
        _check_heads(plan, grafts, kind=kind, layers=layers)
    return tree


def _grow(base: Base, plan: Plan, find: Find) -> Tree:
    if isinstance(plan, Named):
        return Leaf(find(plan))
    if isinstance(plan, Stack):
        return Chain(tuple(_grow(base, member, find) for member in plan.members))
    if isinstance(plan, Fuse):
        return Fused(tuple(_grow(base, member, find) for member in plan.members), find(plan.by))
    if isinstance(plan, Average):
        members = tuple(_grow(base, member, find) for member in plan.members)
        if plan.of == "outputs":
            _refuse_inverses(plan, members)
            return Mean(members, plan.shares)
        return Leaf(_average_parameters(base, plan, members))
    assert not isinstance(plan, Parallel | Route)
    raise AssertionError(plan)


def _average_parameters(base: Base, plan: Average, members: Sequence[Tree]) -> Graft:
    grafts = [member.graft for member in members if isinstance(member, Leaf)]
    if len(grafts) != len(members):
        raise PlanError(
            f"The plan '{plan}' averages the parameters of whole stacks. Expected names of single grafts of one "
            "shape. Stack the averages instead, as in stack(average(a, b), average(c, d)), or say of=outputs."
        )
    # Loaded here, since most plans average nothing.
    from polygraft.attach.arithmetic import average_grafts

    return average_grafts(base, str(plan), grafts, plan.shares)


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


def _check_heads(plan: Plan, grafts: Sequence[Graft], *, kind: str, layers: type[nn.Module]) -> None:
    headed = [graft for graft in grafts if isinstance(graft.find_head(), layers)]
    names = [graft.name for graft in headed]
    # A task that is packed over others needs their weights and not their heads: its own, the topmost, scores.
    # So does a fusion of tasks.
    if len(names) > 1 and not _goes_over_others(headed[-1]):
        raise PlanError(
            f"The plan '{plan}' has {len(names)} heads for {kind}: those of {', '.join(names)}. One at most was "
            "expected, since only one can score. Leave the other grafts out."
        )


def _goes_over_others(graft: Graft) -> bool:
    return any(isinstance(part, Mask) and part.retrained == "some" for part in graft.parts) or any(
        isinstance(layers, MixingLayers) for layers in graft.layers.children()
    )


def index_grafts(grafts: Sequence[Graft]) -> dict[str, Graft]:
    """Give grafts by their names.

    Raises:
        PlanError: Two different ones have the same name.
    """
    found: dict[str, Graft] = {}
    for graft in grafts:
        if found.setdefault(graft.name, graft) is not graft:
            raise PlanError(
                f"Two of the {len(grafts)} grafts given are called '{graft.name}', and a plan could mean either. "
                "Expected a name of its own for each. Rename one, or leave it out."
            )
    return found


def find_graft(
    base: Base,
    named: Named,
    plan: Plan,
    memory: Mapping[str, Graft],
    store: Store | None,
    *,
    any_base: bool,
) -> Graft:
    """Give the graft of a name, from memory or from the store.

    Raises:
        PlanError: It is nowhere.
        FingerprintError: It was trained on another base.
    """
    if named.name in memory and named.version is None:
        graft = memory[named.name]
        if not any_base:
            check_made_for(base, graft)
        return graft
    known = sorted({*memory, *(store.names() if store is not None else ())})
    if store is None or named.name not in known:
        place = "among the grafts given" if store is None else f"in the store {store.folder}"
        hint = f"There are {', '.join(known[:12])}." if known else "There is none."
        more = "Give it in `grafts`, or name its store." if store is None else store.say_listing(len(known))
        raise PlanError(
            f"The plan '{plan}' names '{named.name}', which is not {place}.{nearest(named.name, known)} "
            f"{hint} {more}"
        )
    manifest, tensors = store.get(named.name, version=named.version)
    return rebuild_graft(base, manifest, tensors, any_base=any_base)
