"""A plan in force on a base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from polygraft.attach.depth import Depth, find_depth
from polygraft.attach.enter import enter_above
from polygraft.attach.find import Finder
from polygraft.attach.hooks import Hooks, pick
from polygraft.attach.member import Member
from polygraft.attach.parse import parse_way
from polygraft.attach.plan import Plan, check_names, list_ways
from polygraft.attach.resolve import grow_tree
from polygraft.attach.runner import Runner
from polygraft.attach.several import run_each, score_each, score_pieces, score_rows
from polygraft.attach.tree import describe_shared
from polygraft.attach.weights import WeightEdits
from polygraft.errors import OptionError, PlanError

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.attach.graft import Graft
    from polygraft.attach.heads import LabelHead
    from polygraft.attach.rows import Group
    from polygraft.base.base import Base
    from polygraft.base.pretrained_head import PretrainedHead
    from polygraft.parts.head import PieceHeadLayers
    from polygraft.store.store import Store


class Removable(Protocol):
    """What was put into a base and can be taken out."""

    def remove(self) -> None:
        """Put back what stood there."""
        ...


class Attachment:
    """A plan in force on a base; `remove()` undoes it exactly.

    A plan with a `route` or a `parallel` has several members, the ways that a row may go through it. Which row goes
    which way is said in `rows`; rows of one member stand together in the pass, and are put back in order afterwards.

    Example:
        >>> with attach(base, "stack(qu, ner)", store=store) as attachment:  # doctest: +SKIP
        ...     scores = attachment.score(input_ids, attention_mask)
    """

    def __init__(self, base: Base, plan: Plan | None, members: Sequence[Member]) -> None:
        if base.in_force:
            held = base.in_force[0]
            raise PlanError(
                f"The base '{base.name}' has a plan in force already: {held}. Two plans at once would "
                "change each "
                "other. Call `remove()` on it first, or stack the grafts in one plan."
            )
        self.base = base
        self.plan = plan
        self.members = tuple(members)
        self.grafts: tuple[Graft, ...] = tuple(
            dict.fromkeys(graft for member in members for graft in member.grafts)
        )
        # Where rows go different ways, the weights are changed for one way at a time.
        self.edits = WeightEdits(base, self.grafts if len(self.members) == 1 else ())
        self.merged: Removable | None = None
        """What `merge` put into the weights."""
        try:
            self.hooks = Hooks(base, [member.tree for member in self.members])
        except BaseException:
            self.edits.remove()
            raise
        self.runner = Runner(base, str(self), self.members, self.hooks)
        base.in_force.append(self)

    def __str__(self) -> str:
        return "no graft" if self.plan is None else str(self.plan)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    def remove(self) -> None:
        """Take the plan off the base, which is then what it was, bit for bit. Safe to call twice."""
        self.hooks.remove()
        if self.merged is not None:
            self.merged.remove()
        self.edits.remove()
        if self in self.base.in_force:
            self.base.in_force.remove(self)

    @property
    def only(self) -> Member:
        """The one way through the plan.

        Raises:
            PlanError: There are several.
        """
        only, *others = self.members
        if others:
            raise PlanError(
                f"The plan '{self}' has {len(self.members)} ways for a row, and one was expected here. Say which row "
                "goes which way (`rows`, `score_rows`), or attach a plan without route and parallel."
            )
        return only

    def run(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        *,
        layer: int = -1,
        at: Tensor | None = None,
        rows: Sequence[int] | None = None,
    ) -> Tensor:
        """Compute hidden states.

        Args:
            input_ids: Pieces, [B, T].
            attention_mask: 1 for pieces, 0 for padding, [B, T].
            layer: After how many layers to stop; -1 runs all and gives the last hidden state.
            at: The only places that are asked for, [N], each `row * T + column`. For the others the last
                layer computes its attention and nothing behind it, where its norms come after the residual sums.
            rows: For each row the number of the plan's member that it goes through, from 0; for plans with several.

        Returns:
            [B, T, D], or [N, D] with `at`; what stands at padding has no meaning.

        Raises:
            OptionError: The base has no such layer, or `rows` are not one member a row.
            GraftError: The pass never came by a place where a graft stands.
            PlanError: The plan has several members, and `rows` are missing.
        """
        if rows is None:
            return self.runner.run(
                input_ids, attention_mask, layer=layer, start=Depth(), at=at, member=self.find_number()
            )

        def run(group: Group, places: Tensor | None) -> Tensor:
            own = group.rows.to(input_ids.device)
            inputs = (input_ids.index_select(0, own), attention_mask.index_select(0, own))
            return self.runner.run_group(group, *inputs, layer=layer, start=Depth(), at=places)

        return self.runner.run_rows(rows, input_ids, at, run)

    def run_above(
        self,
        hidden: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor,
        *,
        start: int,
        layer: int = -1,
        at: Tensor | None = None,
        rows: Sequence[int] | None = None,
    ) -> Tensor:
        """Compute hidden states from those of a lower layer, as `run` does from the pieces.

        Args:
            hidden: What `run(..., layer=start)` gave for the same rows under the same grafts, [B, T, D].
            input_ids: The pieces, [B, T]; only their shape is looked at.
            attention_mask: 1 for pieces, 0 for padding, [B, T].
            start: After how many layers `hidden` stands.
            layer: After how many layers to stop; -1 runs all and gives the last hidden state.
            at: The only places that are asked for, as for `run`.
            rows: The member of each row, as for `run`.

        Returns:
            [B, T, D], or [N, D] with `at`; what stands at padding has no meaning.

        Raises:
            OptionError: The base has no such layer, or it stands below `start`.
            GraftError: The pass never came by a place where a graft stands.
            PlanError: A member has a prompt, whose hidden states are not among those of the pieces.
        """
        if self.num_added:
            raise PlanError(
                f"The plan '{self}' has a prompt, whose hidden states are not among those of a row's pieces, so a pass "
                "cannot begin above it. Begin with the pieces."
            )
        num_layers = self.base.sites.num_layers
        if not 1 <= start <= (num_layers - 1 if layer == -1 else layer):
            raise OptionError(
                f"A pass was to go from the output of {start} layers to that of "
                f"{num_layers if layer == -1 else layer}, in a base of {num_layers}. Expected it to begin at 1 or "
                "above, and to end above that. Correct `start` or `layer`."
            )
        if layer == start:
            return hidden if at is None else pick(hidden, at)
        depth = Depth(start)
        if rows is None:
            with enter_above(self.base, hidden, start=start):
                return self.runner.run(
                    input_ids, attention_mask, layer=layer, start=depth, at=at, member=self.find_number()
                )

        def run(group: Group, places: Tensor | None) -> Tensor:
            own = group.rows.to(hidden.device)
            inputs = (input_ids.index_select(0, own), attention_mask.index_select(0, own))
            with enter_above(self.base, hidden.index_select(0, own), start=start):
                return self.runner.run_group(group, *inputs, layer=layer, start=depth, at=places)

        return self.runner.run_rows(rows, input_ids, at, run)

    @property
    def num_added(self) -> int:
        """How many places prompts take before the pieces of a row, the most of all ways through the plan."""
        return max(sum(prompt.length for prompt in member.prompts) for member in self.members)

    @property
    def num_taken(self) -> int:
        """How many of the base's positions are taken before the pieces of a row, the most of all ways."""
        return max(member.num_taken for member in self.members)

    def find_number(self) -> int:
        """Give the number of the one way through the plan.

        Raises:
            PlanError: There are several.
        """
        return self.members.index(self.only)

    def count_shared_layers(self) -> int:
        """Count the lowest layers in which all members do the same."""
        num_layers = self.base.sites.num_layers
        shared: set[Graft] = set.intersection(*(set(member.grafts) for member in self.members))
        # The same grafts in another order, or weighed otherwise, do something else.
        if len({describe_shared(member.tree, shared) for member in self.members}) > 1:
            return 0
        return min(
            (find_depth(graft, sites=self.base.sites).layers for graft in self.grafts if graft not in shared),
            default=num_layers,
        )

    def identify_below(self, depth: Depth) -> tuple[object, ...]:
        """Give what identifies the function below a depth: the base, and the grafts there with their values."""
        below = [graft for graft in self.grafts if find_depth(graft, sites=self.base.sites) < depth]
        return (
            self.base,
            # How they combine.
            tuple(describe_shared(member.tree, set(below)) for member in self.members),
            self.merged,
            # A tensor counts its changes itself.
            *((graft, sum(value._version for value in graft.layers.parameters())) for graft in below),
        )

    def score(self, input_ids: Tensor, attention_mask: Tensor, *, at: Tensor | None = None) -> Tensor:
        """Score labels with the head of the graft that has one.

        Args:
            input_ids: Pieces, [B, T].
            attention_mask: 1 for pieces, 0 for padding, [B, T].
            at: The only tokens that are asked for, as for `run`; for heads that score tokens.

        Returns:
            [B, T, labels] for tokens, or [N, labels] with `at`; [B, labels] for sequences.

        Raises:
            PlanError: No graft of the plan has such a head, or rows go several ways.
        """
        head = self.find_head()
        places = head.find_places(attention_mask) if at is None else at
        return head(self.run(input_ids, attention_mask, layer=head.options.layer, at=places))

    def score_rows(
        self, input_ids: Tensor, attention_mask: Tensor, *, rows: Sequence[int] | None = None
    ) -> list[Tensor]:
        """Score labels row by row, each with the head of its own member; see `several.score_rows`."""
        return score_rows(self, input_ids, attention_mask, rows=rows)

    def score_pieces(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        *,
        at: Tensor,
        rows: Sequence[int] | None = None,
    ) -> Tensor:
        """Score pieces at some places, each with the head and the inverse of its row; see `several.score_pieces`."""
        return score_pieces(self, input_ids, attention_mask, at=at, rows=rows)

    def lend_weights(self, number: int) -> AbstractContextManager[None]:
        """Let the base's weights be as one of several members changes them, inside the block."""
        return self.runner.lend_weights(number)

    def score_each(self, input_ids: Tensor, attention_mask: Tensor) -> list[Tensor]:
        """Score labels of one input by every member's head; see `several.score_each`."""
        return score_each(self, input_ids, attention_mask)

    def run_each(
        self, input_ids: Tensor, attention_mask: Tensor, *, layer: int = -1, at: Tensor | None = None
    ) -> list[Tensor]:
        """Compute the hidden states of one input by every member; see `several.run_each`."""
        return run_each(self, input_ids, attention_mask, layer=layer, at=at)

    def find_head(self) -> LabelHead:
        """Give the head for tokens or sequences of the graft that has one, or the mean of those that are averaged.

        Raises:
            PlanError: There is none, or rows go several ways.
        """
        return self.only.find_head()

    def find_labels(self) -> tuple[str, ...]:
        """Give the names of the labels that `score` scores."""
        return self.find_head().options.labels

    def find_piece_head(self) -> tuple[PieceHeadLayers | PretrainedHead, int]:
        """Give the head that scores pieces in force and the layer it reads: a graft's, else the base's own.

        Raises:
            PlanError: Neither the plan nor the base has one, or rows go several ways.
        """
        return self.only.find_piece_head()

    def find_decoder_weight(self) -> Tensor:
        """Give the weight [V, E] by which the head in force scores pieces."""
        return self.only.find_decoder_weight()

    def prepare_decoding(self, selected: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Take hidden states to the decoder: transform them, and undo the invertible parts.

        Args:
            selected: Hidden states of the layer that the head reads which scores pieces, [N, D].

        Returns:
            The decoder's input [N, E], its weight [V, E] and its bias [V] or None.

        Raises:
            PlanError: Rows go several ways, whose heads and inverses differ; `score_pieces` decodes each by its own.
        """
        return self.only.prepare_decoding(selected)


def attach(
    base: Base,
    plan: Plan | str | None,
    *,
    grafts: Mapping[str, Graft] | Sequence[Graft] = (),
    store: Store | None = None,
    any_base: bool = False,
) -> Attachment:
    """Put a plan in force on a base.

    Args:
        base: The frozen base.
        plan: A plan, its text form, or None (`none`) for the bare base.
        grafts: Grafts in memory that the plan may name; they come before the store's. Several versions of one name are
            told apart by what their manifests say, or as keys such as `ner@2`.
        store: Where the other grafts are.
        any_base: Whether to accept grafts of another base.

    Raises:
        PlanError: The plan cannot be read, names a graft that is nowhere or twice, or has two heads of a kind.
        FingerprintError: A graft was trained on another base.
        GraftError: A graft's tensors have other sizes than the base's, or those of an average were not made alike.

    Example:
        >>> attachment = attach(base, "stack(qu, ner)", store=store)  # doctest: +SKIP
        >>> attachment.remove()  # doctest: +SKIP
    """
    wanted = parse_way(plan) if isinstance(plan, str) else plan
    if wanted is None:
        return Attachment(base, None, [Member(base, None, None)])
    check_names(wanted)
    finder = Finder(base, wanted, grafts, store, any_base=any_base)
    ways = [(way, None if way is None else grow_tree(way, finder)) for way in list_ways(wanted)]
    return Attachment(base, wanted, [Member(base, way, tree) for way, tree in ways])
