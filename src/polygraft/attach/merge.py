"""Plans whose changes stand in the base's own weights while they are in force, so that they cost nothing in a pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from polygraft.attach.attach import Attachment
from polygraft.attach.find import Finder
from polygraft.attach.graft import Graft
from polygraft.attach.member import Member
from polygraft.attach.parse import parse_plan
from polygraft.attach.plan import check_names, list_ways
from polygraft.attach.resolve import grow_tree
from polygraft.attach.tree import Chain, Leaf, Tree, walk_grafts
from polygraft.attach.weights import WeightEdits
from polygraft.base.projections import find_projection
from polygraft.errors import GraftError, PlanError
from polygraft.parts.edit import EditLayers
from polygraft.parts.reach import LinearWeights, ProjectionLayers

if TYPE_CHECKING:
    from polygraft.attach.plan import Plan
    from polygraft.base.base import Base
    from polygraft.store.store import Store
    from polygraft.types import ProjectionRole

    LinearPlace = tuple[int, ProjectionRole]


class MergedWeights:
    """What the grafts of a stack make of the base's weights and of its linear maps, put into the weights.

    Of each map that changes, a copy is kept; `remove` puts it back bit for bit. Nothing of it is differentiated.

    Args:
        base: The base.
        grafts: The grafts of the plan, lowest first.
    """

    def __init__(self, base: Base, grafts: Sequence[Graft]) -> None:
        self.kept: list[tuple[Tensor, Tensor]] = []
        """Weights of the base, or runs of their rows, with what stood there."""
        self.edits = WeightEdits(base, grafts, learns=False)
        found = [layers for graft in grafts for layers in graft.list_layers(ProjectionLayers)]
        places = {place for layers in found for place in (*layers.list_outputs(), *layers.list_inputs())}
        try:
            with torch.no_grad():
                for place in sorted(places):
                    self._merge(base, place, found)
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Put back what stood in the base. Safe to call twice."""
        with torch.no_grad():
            for weight, before in self.kept:
                weight.copy_(before)
        self.kept.clear()
        self.edits.remove()

    def _merge(self, base: Base, place: LinearPlace, found: Sequence[ProjectionLayers]) -> None:
        layer, role = place
        projection = find_projection(base.sites, layer=layer, role=role)
        weight, bias = projection.weight.detach(), projection.bias
        bias = None if bias is None else bias.detach()
        # Products and sums are made in float32 or better, and rounded once.
        dtype = torch.promote_types(weight.dtype, torch.float32)
        own = LinearWeights(weight=weight.to(dtype), bias=None if bias is None else bias.to(dtype))
        linear = own
        for layers in found:
            if place in layers.list_outputs():
                linear = layers.merge(place, linear, own=own)
        # What the map reads was changed by the lowest graft first, and so that one is the last to be merged.
        for layers in reversed(found):
            if place in layers.list_inputs():
                linear = layers.merge_input(place, linear)
        for target, source in ((weight, linear.weight), (bias, linear.bias)):
            if target is not None and source is not None:
                self.kept.append((target, target.clone()))
                target.copy_(source)


def merge(
    base: Base,
    plan: Plan | str,
    *,
    grafts: Mapping[str, Graft] | Sequence[Graft] = (),
    store: Store | None = None,
    any_base: bool = False,
) -> Attachment:
    """Put a plan in force, with all that can be in the base's own weights.

    LoRA, (IA)3, BitFit, deltas and masks are then in the weights, and cost nothing in a pass; bottlenecks, heads and
    other parts act as `attach` lets them. Outputs are those of `attach` but for rounding, about 1e-5 in float32; in
    bfloat16 the weights themselves are rounded once. `remove()` puts back what stood there, bit for bit. Merged
    values get no gradients: train with `attach`.

    Args:
        base: The frozen base.
        plan: A graft or a stack of grafts, or its text form.
        grafts: Grafts in memory that the plan may name; they come before the store's.
        store: Where the other grafts are.
        any_base: Whether to accept grafts of another base.

    Raises:
        PlanError: The plan is no stack, cannot be read, or names a graft that is nowhere or twice.
        GraftError: The base's weights were rounded to int8.
        FingerprintError: A graft was trained on another base.

    Example:
        >>> with merge(base, "stack(en, ner)", store=store) as attachment:  # doctest: +SKIP
        ...     scores = attachment.score(input_ids, attention_mask)
    """
    wanted = parse_plan(plan) if isinstance(plan, str) else plan
    check_names(wanted)
    way, *others = list_ways(wanted)
    if others or way is None:
        raise _refuse_plan(wanted)
    tree = grow_tree(way, Finder(base, wanted, grafts, store, any_base=any_base))
    found = tuple(walk_grafts(tree))
    left = _leave_rest(tree, wanted)
    _refuse_int8(base, wanted, found)
    attachment = Attachment(base, wanted, [Member(base, way, left)])
    try:
        attachment.merged = MergedWeights(base, found)
    except BaseException:
        attachment.remove()
        raise
    return attachment


def _leave_rest(tree: Tree, plan: Plan) -> Tree:
    """Give a stack without the layers that are merged."""
    if isinstance(tree, Leaf):
        return Leaf(_strip(tree.graft))
    if isinstance(tree, Chain):
        return Chain(tuple(_leave_rest(member, plan) for member in tree.members))
    raise _refuse_plan(plan)


def _strip(graft: Graft) -> Graft:
    kept = [
        (part, key, layers)
        for part, (key, layers) in zip(graft.parts, graft.layers.named_children(), strict=True)
        if not isinstance(layers, EditLayers | ProjectionLayers)
    ]
    return Graft(
        name=graft.name,
        parts=tuple(part for part, _, _ in kept),
        layers=nn.ModuleDict({key: layers for _, key, layers in kept}),
        manifest=graft.manifest,
        base_fingerprint=graft.base_fingerprint,
    )


def _refuse_plan(plan: Plan) -> PlanError:
    return PlanError(
        f"The plan '{plan}' cannot be merged: where grafts stand side by side or rows go different ways, no one weight "
        "does what they do. Expected a graft or a stack, as in stack(qu, ner). Attach the plan instead."
    )


def _refuse_int8(base: Base, plan: Plan, grafts: Sequence[Graft]) -> None:
    if base.is_int8:
        kinds = [
            part.kind
            for graft in grafts
            for part, layers in zip(graft.parts, graft.layers.children(), strict=True)
            if isinstance(layers, EditLayers | ProjectionLayers)
        ]
        if kinds:
            raise GraftError(
                f"The plan '{plan}' was to be merged ({', '.join(kinds)}), and the base '{base.name}' was loaded in "
                "int8, whose weights were rounded once. Expected float32 or bfloat16. Load it with another --dtype, or "
                "attach the plan instead."
            )
