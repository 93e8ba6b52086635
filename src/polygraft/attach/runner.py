"""Passes of a base under a plan: of one member for all rows, or of several for their own rows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

from polygraft.attach.depth import Depth, find_below
from polygraft.attach.hooks import LayerReached, pick
from polygraft.attach.passes import Pass
from polygraft.attach.positions import check_room, number_positions
from polygraft.attach.prompt import lengthen, move_places
from polygraft.attach.rows import Group, group_rows, put_back, select_places
from polygraft.attach.weights import WeightEdits
from polygraft.errors import GraftError, OptionError, PlanError

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.attach.hooks import Hooks
    from polygraft.attach.member import Member
    from polygraft.base.base import Base


class Runner:
    """Runs a base under the members of a plan.

    Args:
        base: The base.
        name: What errors call the plan.
        members: What rows may go through.
        hooks: The hooks in force.
    """

    def __init__(self, base: Base, name: str, members: Sequence[Member], hooks: Hooks) -> None:
        self.base = base
        self.name = name
        self.members = members
        self.hooks = hooks

    def run_rows(
        self,
        rows: Sequence[int],
        input_ids: Tensor,
        at: Tensor | None,
        run: Callable[[Group, Tensor | None], Tensor],
    ) -> Tensor:
        """Run the rows of a batch group by group, and put what they give in the batch's order.

        Args:
            rows: The member of each row.
            input_ids: The batch's pieces, [B, T].
            at: The only places that are asked for, [N]; None for all.
            run: Runs a group, for some places of its own.
        """
        num_rows, num_tokens = input_ids.shape
        alone = [member.needs_own_pass for member in self.members]
        pieces: list[tuple[Tensor, Tensor]] = []
        for group in group_rows(rows, num_rows=num_rows, num_members=len(self.members), alone=alone):
            if at is None:
                pieces.append((run(group, None), group.rows))
                continue
            places, index = select_places(at, group.rows, num_rows=num_rows, num_tokens=num_tokens)
            if len(places):
                pieces.append((run(group, places), index))
        return put_back(pieces)

    def run_group(
        self,
        group: Group,
        input_ids: Tensor,
        attention_mask: Tensor,
        *,
        layer: int,
        start: Depth,
        at: Tensor | None,
    ) -> Tensor:
        """Run one group of rows; a member that changes weights has them changed for as long.

        Args:
            group: The group.
            input_ids: The pieces of its rows, [R, T].
            attention_mask: 1 for pieces, 0 for padding, [R, T].
            layer: After how many layers to stop; -1 runs all.
            start: Where to begin.
            at: The only places that are asked for, sorted [N]; None for all.

        Raises:
            PlanError: The member is being trained and changes weights.
        """
        # Members that share a pass change no weights.
        lent = self.lend_weights(group.member) if group.segments is None else nullcontext()
        with lent:
            return self.run(
                input_ids, attention_mask, layer=layer, start=start, at=at, member=group.member, group=group
            )

    @contextmanager
    def lend_weights(self, number: int) -> Generator[None]:
        """Let the base's weights be as one member changes them, inside the block; where there is one, they are so.

        Args:
            number: The member.

        Raises:
            PlanError: The member is being trained and changes weights.
        """
        member = self.members[number]
        if len(self.members) == 1 or not member.edits_weights:
            yield
            return
        if torch.is_grad_enabled() and member.learns:
            raise PlanError(
                f"The plan '{self.name}' was to train '{member}' in a batch of several ways, and a graft of "
                "it changes the base's own weights, which are what they were again before the gradients come. "
                "Train it by itself."
            )
        edits = WeightEdits(self.base, member.grafts)
        try:
            yield
        finally:
            edits.remove()

    def run(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        *,
        layer: int,
        start: Depth,
        at: Tensor | None,
        member: int,
        group: Group | None = None,
    ) -> Tensor:
        """Run one pass.

        Args:
            input_ids: Pieces, [B, T].
            attention_mask: 1 for pieces, 0 for padding, [B, T].
            layer: After how many layers to stop; -1 runs all.
            start: Where to begin.
            at: The only places that are asked for, sorted where there are several members [N]; None for all.
            member: The member of all rows, where there are no segments.
            group: The rows' members.

        Returns:
            [B, T, D], or [N, D] with `at`.
        """
        num_layers = self.base.sites.num_layers
        if layer != -1 and not 1 <= layer <= num_layers:
            raise OptionError(
                f"A pass was to stop after {layer} layers, and the base '{self.base.name}' has "
                f"{num_layers}. Expected "
                f"-1 for all, or 1 to {num_layers}. Correct `layer`."
            )
        narrow_in = None if at is None else (num_layers if layer == -1 else layer) - 1
        segments = None if group is None else group.segments
        prompts = self.members[member].prompts if segments is None else []
        num_added = sum(prompt.length for prompt in prompts)
        num_moved = self.members[member].num_moved if segments is None else 0
        if num_added or num_moved:
            check_room(
                self.base,
                self.name,
                num_tokens=input_ids.shape[1],
                num_added=num_added,
                num_moved=num_moved,
            )
        if num_added:
            at = None if at is None else move_places(at, num_tokens=input_ids.shape[1], num_added=num_added)
            input_ids, attention_mask = lengthen(self.base, input_ids, attention_mask, num_added=num_added)
        current = Pass(
            start=start,
            stop=None if layer == -1 else Depth(layer),
            wanted=at,
            narrow_in=narrow_in,
            segments=segments,
            member=member,
            num_added=num_added,
        )
        (hidden,) = self._go(current, input_ids, attention_mask, num_moved=num_moved)
        if at is None:
            # Contiguous, as what a pass without a prompt gives: heads multiply views with other rounding.
            return hidden[:, num_added:].contiguous() if num_added else hidden
        return hidden[0] if current.is_narrow else pick(hidden, at)

    def run_below(
        self, input_ids: Tensor, attention_mask: Tensor, *, depth: Depth, member: int
    ) -> tuple[Tensor, ...]:
        """Run one pass up to some depth, of a member without a prompt.

        Args:
            input_ids: Pieces, [B, T].
            attention_mask: 1 for pieces, 0 for padding, [B, T].
            depth: Where to end, inside a layer only where a graft corrects its feed-forward sublayer.
            member: The member of all rows.

        Returns:
            The output of the last whole layer; inside a layer the residual input and the uncorrected output of
            its feed-forward sublayer; all [B, T, D].
        """
        num_moved = self.members[member].num_moved
        if num_moved:
            check_room(self.base, self.name, num_tokens=input_ids.shape[1], num_added=0, num_moved=num_moved)
        return self._go(Pass(stop=depth, member=member), input_ids, attention_mask, num_moved=num_moved)

    def _go(
        self, current: Pass, input_ids: Tensor, attention_mask: Tensor, *, num_moved: int
    ) -> tuple[Tensor, ...]:
        self.hooks.current = current
        # What a decoder would keep for pieces to come would be kept twice where layers are run again.
        named: dict[str, Any] = {"use_cache": False} if self.base.sites.family.is_decoder else {}
        if num_moved:
            named["position_ids"] = number_positions(self.base, input_ids, first=num_moved)
        try:
            output = self.base.model(input_ids=input_ids, attention_mask=attention_mask, **named)
        except LayerReached:
            given = current.stopped
        else:
            given = (output.last_hidden_state,)
        finally:
            self.hooks.current = Pass()
        self._check_reached(current)
        return given

    def _check_reached(self, current: Pass) -> None:
        stop = current.stop or Depth(self.base.sites.num_layers)
        expected = {place for place in self.hooks.places if current.start <= find_below(place) < stop}
        missed = sorted(expected - current.reached)
        if missed:
            layer, name = missed[0]
            raise GraftError(
                f"The forward pass never came by layer {layer}, {name}, where the plan '{self.name}' has a graft "
                f"({len(missed)} places missed). The base was changed by other code. Load it anew."
            )
