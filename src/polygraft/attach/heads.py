"""The heads of one way through a plan: the one that scores labels, and the one that scores pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from polygraft.attach.tree import Chain, Leaf, Mean, Tree, walk_grafts
from polygraft.errors import PlanError
from polygraft.parts.head import HeadLayers, PieceHeadLayers
from polygraft.parts.mask import Mask
from polygraft.parts.reach import MixingLayers

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.attach.plan import Plan
    from polygraft.parts.head import Head

ALIKE = ("objective", "labels", "layer")
"""The options in which heads must agree whose scores are averaged."""


class MeanHead:
    """Heads of one task whose scores are averaged.

    Args:
        heads: The heads; they agree in what they score and in the layer that they read.
        weights: One a head, with the sum 1.
    """

    def __init__(self, heads: Sequence[LabelHead], weights: Sequence[float]) -> None:
        self.heads = tuple(heads)
        self.weights = tuple(weights)

    @property
    def options(self) -> Head:
        """What the heads score and read, as the first one has it."""
        return self.heads[0].options

    def find_places(self, attention_mask: Tensor) -> Tensor | None:
        """Give the places that are read of rows [B, T], each `row * T + column`: None for all."""
        return self.heads[0].find_places(attention_mask)

    def __call__(self, hidden: Tensor) -> Tensor:
        """Score hidden states at the places that are read: [..., D] to [..., labels]."""
        first, *others = (
            head(hidden) * weight for head, weight in zip(self.heads, self.weights, strict=True)
        )
        return sum(others, first)


LabelHead = HeadLayers | MeanHead


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Heads that score together, and the grafts that they come from."""

    head: LabelHead
    grafts: tuple[Graft, ...]


def find_label_head(plan: Plan, tree: Tree) -> LabelHead | None:
    """Give what scores labels in one way through a plan, or None.

    Args:
        plan: The way.
        tree: The same with its grafts.

    Raises:
        PlanError: There are several heads of which only one can score, or an average has heads that score other things.
    """
    found = _decide(plan, _gather(plan, tree))
    return None if found is None else found.head


def find_piece_head(plan: Plan, tree: Tree) -> PieceHeadLayers | None:
    """Give the graft's head that scores pieces in one way through a plan, or None; the arguments are the same.

    Raises:
        PlanError: There are several.
    """
    headed = [
        (head, graft) for graft in walk_grafts(tree) if isinstance(head := graft.find_head(), PieceHeadLayers)
    ]
    if not headed:
        return None
    _check_one(plan, [graft for _, graft in headed], kind="masked language modelling")
    return headed[-1][0]


def _gather(plan: Plan, tree: Tree) -> list[_Found]:
    """List the heads for labels, lowest first; those that are averaged as one."""
    if isinstance(tree, Leaf):
        head = tree.graft.find_head()
        return [_Found(head=head, grafts=(tree.graft,))] if isinstance(head, HeadLayers) else []
    found = [_gather(plan, member) for member in tree.members]
    if isinstance(tree, Mean):
        decided = [_decide(plan, own) for own in found]
        pairs = [(own, weight) for own, weight in zip(decided, tree.weights, strict=True) if own is not None]
        return _average(plan, [own for own, _ in pairs], [weight for _, weight in pairs]) if pairs else []
    flat = [each for own in found for each in own]
    return flat if isinstance(tree, Chain) else [*flat, *_gather(plan, Leaf(tree.graft))]


def _decide(plan: Plan, found: Sequence[_Found]) -> _Found | None:
    if not found:
        return None
    if len(found) > 1:
        _check_one(plan, [graft for each in found for graft in each.grafts], kind="labels")
    return found[-1]


def _average(plan: Plan, found: Sequence[_Found], weights: Sequence[float]) -> list[_Found]:
    """Make one head of those that the members of an average have; a member without one has no say."""
    if len(found) == 1:
        return list(found)
    for option in ALIKE:
        first, *others = (each.head.options.to_options()[option] for each in found)
        for each, other in zip(found[1:], others, strict=True):
            if other != first:
                raise PlanError(
                    f"The plan '{plan}' averages outputs, and the heads of '{found[0].grafts[-1].name}' and "
                    f"'{each.grafts[-1].name}' have {option}={_show(first)} and {option}={_show(other)}. Expected "
                    "heads of one objective with the same labels in the same order, which read the same layer, so that "
                    "each score has its like. Average grafts of one task, or leave one out."
                )
    total = sum(weights)
    if total == 0:
        raise PlanError(
            f"The plan '{plan}' averages outputs, and all members that have a head weigh 0. Expected a head that "
            "counts. Give one of them a weight."
        )
    head = MeanHead([each.head for each in found], [weight / total for weight in weights])
    return [_Found(head=head, grafts=tuple(graft for each in found for graft in each.grafts))]


def _show(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else repr(value)


def _check_one(plan: Plan, headed: Sequence[Graft], *, kind: str) -> None:
    # A task that is packed over others needs their weights and not their heads: its own, the topmost, scores.
    # So does a fusion of tasks.
    if len(headed) > 1 and not _goes_over_others(headed[-1]):
        raise PlanError(
            f"The plan '{plan}' has {len(headed)} heads for {kind}: those of "
            f"{', '.join(graft.name for graft in headed)}. One at most was "
            "expected, since only one can score. Leave the other grafts out."
        )


def _goes_over_others(graft: Graft) -> bool:
    return any(isinstance(part, Mask) and part.retrained == "some" for part in graft.parts) or any(
        isinstance(layers, MixingLayers) for layers in graft.layers.children()
    )
