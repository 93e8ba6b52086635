"""Several ways through a plan at once: each row its own, or every row all of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

import torch

from polygraft.attach.hooks import pick
from polygraft.attach.rows import check_rows, put_back, select_places

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.attach.member import Member
    from polygraft.base.base import Base


class Running(Protocol):
    """What runs a base under a plan with several ways: an attachment."""

    base: Base
    members: tuple[Member, ...]

    @property
    def num_added(self) -> int:
        """The most places that a prompt takes before the pieces of a row."""
        ...

    def count_shared_layers(self) -> int:
        """Count the lowest layers in which all members do the same."""
        ...

    @property
    def only(self) -> Member:
        """The one way through the plan."""
        ...

    def lend_weights(self, number: int) -> AbstractContextManager[None]:
        """Let the base's weights be as one of several members changes them, inside the block."""
        ...

    def run(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        *,
        layer: int = -1,
        at: Tensor | None = None,
        rows: Sequence[int] | None = None,
    ) -> Tensor:
        """Compute hidden states."""
        ...

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
        """Compute hidden states from those of a lower layer."""
        ...


def run_each(
    attachment: Running,
    input_ids: Tensor,
    attention_mask: Tensor,
    *,
    layer: int = -1,
    at: Tensor | None = None,
) -> list[Tensor]:
    """Compute the hidden states of one input by every member; what is below all differences is computed once.

    Args:
        attachment: The plan in force.
        input_ids: Pieces, [B, T].
        attention_mask: 1 for pieces, 0 for padding, [B, T].
        layer: After how many layers to stop, as for `run`.
        at: The only places that are asked for, as for `run`.

    Returns:
        For each member what `run` gives.
    """
    num_rows, num_tokens = input_ids.shape
    count = len(attachment.members)
    depth = attachment.count_shared_layers()
    last = attachment.base.sites.num_layers if layer == -1 else layer
    rows = [number for number in range(count) for _ in range(num_rows)]
    inputs = (input_ids.repeat(count, 1), attention_mask.repeat(count, 1))
    places = None
    if at is not None:
        places = torch.cat([at + number * num_rows * num_tokens for number in range(count)])
    if 0 < depth < last and attachment.num_added == 0:
        shared = attachment.run(input_ids, attention_mask, layer=depth, rows=[0] * num_rows)
        hidden = shared.repeat(count, 1, 1)
        result = attachment.run_above(hidden, *inputs, start=depth, layer=layer, at=places, rows=rows)
    else:
        result = attachment.run(*inputs, layer=layer, at=places, rows=rows)
    return list(result.chunk(count))


def score_rows(
    attachment: Running, input_ids: Tensor, attention_mask: Tensor, *, rows: Sequence[int] | None = None
) -> list[Tensor]:
    """Score labels row by row, each with the head of its own member.

    Args:
        attachment: The plan in force.
        input_ids: Pieces, [B, T].
        attention_mask: 1 for pieces, 0 for padding, [B, T].
        rows: The member of each row, as for `run`; None where there is one.

    Returns:
        For each row [T, labels] for tokens, or [labels] for sequences.

    Raises:
        PlanError: A member that a row goes through has no head for labels.
    """
    owners = _list_owners(attachment, rows, num_rows=len(input_ids))
    heads = {number: attachment.members[number].find_head() for number in sorted(set(owners))}
    scores: list[Tensor | None] = [None] * len(owners)
    for layer in dict.fromkeys(head.options.layer for head in heads.values()):
        own = [row for row, owner in enumerate(owners) if heads[owner].options.layer == layer]
        index = torch.tensor(own, device=input_ids.device)
        hidden = attachment.run(
            input_ids.index_select(0, index),
            attention_mask.index_select(0, index),
            layer=layer,
            rows=[owners[row] for row in own],
        )
        for row, states in zip(own, hidden, strict=True):
            head = heads[owners[row]]
            places = head.find_places(attention_mask[row : row + 1])
            scores[row] = head(states[None] if places is None else pick(states[None], places))[0]
    return [score for score in scores if score is not None]


def score_pieces(
    attachment: Running,
    input_ids: Tensor,
    attention_mask: Tensor,
    *,
    at: Tensor,
    rows: Sequence[int] | None = None,
) -> Tensor:
    """Score pieces at some places, each by what its own row goes through: its head and its inverse.

    Hidden states go through the head, every invertible part of the row's member is undone, and the decoder scores all
    pieces: the hidden piece at a place, or on a causal base the one after it.

    Args:
        attachment: The plan in force.
        input_ids: Pieces, [B, T].
        attention_mask: 1 for pieces, 0 for padding, [B, T].
        at: The places that are asked for, [N], each `row * T + column`. A score of every piece is computed for each.
        rows: The member of each row, as for `run`; None where there is one.

    Returns:
        [N, V], in the order of `at`.

    Raises:
        OptionError: `rows` are not one member a row.
        PlanError: A member that a row goes through has no head for pieces, and neither has the base; or it is being
            trained and changes weights.
    """
    num_rows, num_tokens = input_ids.shape
    owners = _list_owners(attachment, rows, num_rows=num_rows)
    heads = {number: attachment.members[number].find_piece_head() for number in sorted(set(owners))}
    pieces: list[tuple[Tensor, Tensor]] = []
    for layer in dict.fromkeys(layer for _, layer in heads.values()):
        own = [row for row, owner in enumerate(owners) if heads[owner][1] == layer]
        index = torch.tensor(own, device=input_ids.device)
        places, which = select_places(at, index, num_rows=num_rows, num_tokens=num_tokens)
        if not len(places):
            continue
        hidden = attachment.run(
            input_ids.index_select(0, index),
            attention_mask.index_select(0, index),
            layer=layer,
            at=places,
            rows=[owners[row] for row in own],
        )
        owner_of = torch.tensor([owners[row] for row in own], device=at.device)[places // num_tokens]
        for number in owner_of.unique().tolist():
            chosen = (owner_of == number).nonzero().flatten()
            with attachment.lend_weights(number):
                x, weight, bias = attachment.members[number].prepare_decoding(hidden[chosen])
                scores = x @ weight.to(x.dtype).T
            pieces.append((scores if bias is None else scores + bias, which[chosen]))
    return put_back(pieces) if pieces else torch.empty(0, attachment.base.sites.vocab, device=at.device)


def _list_owners(attachment: Running, rows: Sequence[int] | None, *, num_rows: int) -> list[int]:
    if rows is None:
        return [attachment.members.index(attachment.only)] * num_rows
    check_rows(rows, num_rows=num_rows, num_members=len(attachment.members))
    return list(rows)


def score_each(attachment: Running, input_ids: Tensor, attention_mask: Tensor) -> list[Tensor]:
    """Score labels of one input by every member's head; what is below all differences is computed once.

    Args:
        attachment: The plan in force.
        input_ids: Pieces, [B, T].
        attention_mask: 1 for pieces, 0 for padding, [B, T].

    Returns:
        For each member what `score` gives.

    Raises:
        PlanError: A member has no head for labels.
    """
    heads = [member.find_head() for member in attachment.members]
    hidden: dict[int, list[Tensor]] = {}
    scores: list[Tensor] = []
    for number, head in enumerate(heads):
        layer = head.options.layer
        if layer not in hidden:
            hidden[layer] = run_each(attachment, input_ids, attention_mask, layer=layer)
        states = hidden[layer][number]
        places = head.find_places(attention_mask)
        scores.append(head(states if places is None else pick(states, places)))
    return scores
