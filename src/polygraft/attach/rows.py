"""Rows of a batch in the order of their members, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polygraft.attach.passes import Segment
from polygraft.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows that are computed in one pass."""

    rows: Tensor
    """Which rows of the batch they are, in the order of the pass, [R]."""
    segments: tuple[Segment, ...] | None
    """Which of them belong to which member; None where all belong to one."""
    member: int
    """The member of all, where there are no segments."""


def check_rows(owners: Sequence[int], *, num_rows: int, num_members: int) -> None:
    """Refuse what is not one member a row.

    Args:
        owners: The member of each row.
        num_rows: Rows of the batch (B).
        num_members: Members of the plan.

    Raises:
        OptionError: It is not.
    """
    if len(owners) != num_rows or not all(0 <= owner < num_members for owner in owners):
        raise OptionError(
            f"A batch of {num_rows} rows came with the members {list(owners)} of a plan that has {num_members}. "
            f"Expected a number from 0 to {num_members - 1} for each row. Correct `rows`."
        )


def group_rows(
    owners: Sequence[int], *, num_rows: int, num_members: int, alone: Sequence[bool]
) -> list[Group]:
    """Sort the rows of a batch by their members.

    Args:
        owners: The member of each row.
        num_rows: Rows of the batch (B).
        num_members: Members of the plan.
        alone: Which members need a pass of their own.

    Returns:
        One group of all members that can be in one pass, and one for each other member, in the order of members.

    Raises:
        OptionError: `owners` is not one member a row.

    Example:
        >>> [
        ...     group.rows.tolist()
        ...     for group in group_rows([1, 0, 1], num_rows=3, num_members=2, alone=[False, False])
        ... ]
        [[1, 0, 2]]
    """
    check_rows(owners, num_rows=num_rows, num_members=num_members)
    by_member: dict[int, list[int]] = {}
    for row, owner in enumerate(owners):
        by_member.setdefault(owner, []).append(row)
    together = [member for member in sorted(by_member) if not alone[member]]
    groups = [
        Group(rows=torch.tensor(by_member[member]), segments=None, member=member)
        for member in sorted(by_member)
        if alone[member]
    ]
    if len(together) == 1:
        groups.append(Group(rows=torch.tensor(by_member[together[0]]), segments=None, member=together[0]))
    elif together:
        segments: list[Segment] = []
        start = 0
        for member in together:
            stop = start + len(by_member[member])
            segments.append(Segment(member=member, start=start, stop=stop))
            start = stop
        rows = torch.tensor([row for member in together for row in by_member[member]])
        groups.append(Group(rows=rows, segments=tuple(segments), member=0))
    return groups


def select_places(places: Tensor, rows: Tensor, *, num_rows: int, num_tokens: int) -> tuple[Tensor, Tensor]:
    """Find the places among a batch's tokens that are in a group of its rows.

    Args:
        places: Places [N] in the batch, each `row * T + column`.
        rows: The group's rows, [R].
        num_rows: Rows of the batch (B).
        num_tokens: Tokens of a row (T).

    Returns:
        The places in the group, sorted, and which of the N they are.
    """
    new_row = torch.full((num_rows,), -1, device=places.device)
    new_row[rows.to(places.device)] = torch.arange(len(rows), device=places.device)
    row = new_row[places // num_tokens]
    index = (row >= 0).nonzero().flatten()
    moved = row[index] * num_tokens + places[index] % num_tokens
    moved, order = moved.sort()
    return moved, index[order]


def put_back(pieces: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Put rows, or places, back in the order of the batch.

    Args:
        pieces: What was computed, [R, ...], each with where it belongs, [R]; together each place once.
    """
    joined = torch.cat([piece for piece, _ in pieces]) if len(pieces) > 1 else pieces[0][0]
    index = torch.cat([index.to(joined.device) for _, index in pieces])
    return joined.index_select(0, index.argsort())
