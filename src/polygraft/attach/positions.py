"""Where the positions of a row's tokens begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from polygraft.errors import OptionError

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.base.base import Base


def check_room(base: Base, plan: str, *, num_tokens: int, num_added: int, num_moved: int = 0) -> None:
    """Refuse rows that are too long for a base once a prompt stands before them, or their positions begin later.

    Args:
        base: The base.
        plan: What errors call the plan.
        num_tokens: Tokens of a row (T).
        num_added: Size of the prompt (P).
        num_moved: By how much later the positions begin.

    Raises:
        OptionError: They are.
    """
    places, num_taken = base.num_positions, num_added + num_moved
    if places is None or num_tokens + num_taken <= places:
        return
    told = [f"puts a prompt of {num_added} before rows of {num_tokens} tokens"] if num_added else []
    if num_moved:
        own = "their positions" if num_added else f"the positions of rows of {num_tokens} tokens"
        told.append(f"lets {own} begin {num_moved} later")
    shorter = " and a shorter ".join(
        word for word, count in (("prompt", num_added), ("prefix", num_moved)) if count
    )
    raise OptionError(
        f"The plan '{plan}' {' and '.join(told)}, and the base '{base.name}' has {places} positions. Expected rows of "
        f"at most {max(places - num_taken, 0)} tokens. Cut them, or take a shorter {shorter}."
    )


def number_positions(base: Base, input_ids: Tensor, *, first: int) -> Tensor:
    """Give the positions [B, T] of pieces that begin later than usual, as the base's family counts them.

    Args:
        base: The base.
        input_ids: Pieces, [B, T].
        first: By how much later they begin.
    """
    if base.sites.family.name == "roberta":
        # Counted from behind the padding piece's number, and padding has just that.
        is_piece = (input_ids != base.pad_id).long()
        return (is_piece.cumsum(1) + first) * is_piece + base.pad_id
    positions = torch.arange(first, first + input_ids.shape[1], device=input_ids.device)
    return positions.expand(len(input_ids), -1)
