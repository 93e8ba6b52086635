"""One way through a plan: grafts in their order, and the heads among them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Protocol, TypeVar

from typing_extensions import override

from polygraft.attach.heads import find_label_head, find_piece_head
from polygraft.attach.tree import list_stacked, walk_grafts
from polygraft.errors import PlanError
from polygraft.parts.edit import EditLayers
from polygraft.parts.head import PieceHeadLayers
from polygraft.parts.reach import AttentionLayers, EmbeddingLayers, ProjectionLayers, PromptLayers
from polygraft.types import TEXT_OBJECTIVES

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.attach.graft import Graft
    from polygraft.attach.heads import LabelHead
    from polygraft.attach.plan import Plan
    from polygraft.attach.tree import Tree
    from polygraft.base.base import Base
    from polygraft.base.pretrained_head import PretrainedHead


Kind = TypeVar("Kind")


class PieceHead(Protocol):
    """What a base's own head that scores pieces and a graft's have in common."""

    def transform(self, hidden: Tensor) -> Tensor:
        """Take hidden states [N, D] to the decoder's input [N, E]."""
        ...


class Member:
    """What a row goes through.

    Args:
        base: The base.
        plan: The way as a plan; None is the bare base.
        tree: The same with its grafts.
    """

    def __init__(self, base: Base, plan: Plan | None, tree: Tree | None) -> None:
        self.base = base
        self.plan = plan
        self.tree = tree
        self.grafts: tuple[Graft, ...] = () if tree is None else tuple(walk_grafts(tree))

    @override
    def __str__(self) -> str:
        return "no graft" if self.plan is None else str(self.plan)

    @cached_property
    def prompts(self) -> list[PromptLayers]:
        """What the grafts put before the pieces of a row, first what comes first."""
        return list_stacked(self.tree, PromptLayers, what="prompt")

    @cached_property
    def num_moved(self) -> int:
        """By how much later than usual the positions of a row's tokens begin."""
        return sum(layers.num_moved for layers in self._list_layers(AttentionLayers))

    @property
    def num_taken(self) -> int:
        """How many of the base's positions are taken before the pieces of a row: by prompts, and by what moves them."""
        return sum(prompt.length for prompt in self.prompts) + self.num_moved

    @cached_property
    def edits_weights(self) -> bool:
        """Whether a graft changes the base's own weights."""
        return bool(self._list_layers(EditLayers))

    @property
    def learns(self) -> bool:
        """Whether a value of its grafts is being trained."""
        return any(value.requires_grad for graft in self.grafts for value in graft.layers.parameters())

    @cached_property
    def needs_own_pass(self) -> bool:
        """Whether its rows cannot be in one pass with those of others."""
        roles = self.base.sites.position_roles
        return (
            self.edits_weights
            or self.num_taken > 0
            or any(
                role in roles
                for layers in self._list_layers(ProjectionLayers)
                for _, role in (*layers.list_outputs(), *layers.list_inputs())
            )
        )

    def _list_layers(self, kind: type[Kind]) -> list[Kind]:
        return [layers for graft in self.grafts for layers in graft.list_layers(kind)]

    @cached_property
    def _label_head(self) -> LabelHead | None:
        return None if self.plan is None or self.tree is None else find_label_head(self.plan, self.tree)

    @cached_property
    def _piece_head(self) -> PieceHeadLayers | None:
        return None if self.plan is None or self.tree is None else find_piece_head(self.plan, self.tree)

    def find_head(self) -> LabelHead:
        """Give the head for tokens or sequences of the graft that has one, or the mean of those that are averaged.

        Raises:
            PlanError: There is none.
        """
        if self._label_head is not None:
            return self._label_head
        raise PlanError(
            f"The plan '{self}' has no head for tokens or sequences, so it cannot label anything. Expected "
            "a task "
            "graft in it, as in stack(qu, ner). Add one."
        )

    def find_piece_head(self) -> tuple[PieceHeadLayers | PretrainedHead, int]:
        """Give the head that scores pieces in force and the layer it reads: a graft's, else the base's own.

        Raises:
            PlanError: Neither the plan nor the base has one.
        """
        if self._piece_head is not None:
            return self._piece_head, self._piece_head.options.layer
        if self.base.head is not None:
            return self.base.head, -1
        raise PlanError(
            f"The plan '{self}' has no {TEXT_OBJECTIVES[self.base.guesses]} head, and the base '{self.base.name}' "
            "brings none. Expected a "
            "graft with one below the language graft, as in stack(mlm, qu). Train one first."
        )

    def find_decoder_weight(self) -> Tensor:
        """Give the weight [V, E] by which the head in force scores pieces."""
        head, _ = self.find_piece_head()
        return self.base.sites.word_embeddings.weight if isinstance(head, PieceHeadLayers) else head.weight

    def prepare_decoding(self, selected: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Take hidden states to the decoder: transform them, and undo the invertible parts.

        Args:
            selected: Hidden states of the layer that the head reads which scores pieces, [N, D].

        Returns:
            The decoder's input [N, E], its weight [V, E] and its bias [V] or None.
        """
        head, _ = self.find_piece_head()
        x = head.transform(selected)
        for layers in reversed(self._list_layers(EmbeddingLayers)):
            x = layers.invert(x)
        return x, self.find_decoder_weight(), head.bias
