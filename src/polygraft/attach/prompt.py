"""Rows that begin with the prompt of a graft."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polygraft.errors import OptionError

if TYPE_CHECKING:
    from polygraft.base.base import Base


def check_room(base: Base, plan: str, *, num_tokens: int, num_added: int) -> None:
    """Refuse rows that are too long for a base once a prompt stands before them.

    Args:
        base: The base.
        plan: What errors call the plan.
        num_tokens: Tokens of a row (T).
        num_added: Size of the prompt (P).

    Raises:
        OptionError: They are.
    """
    places = base.num_positions
    if places is not None and num_tokens + num_added > places:
        raise OptionError(
            f"The plan '{plan}' puts a prompt of {num_added} before rows of {num_tokens} tokens, and the base "
            f"'{base.name}' has {places} positions. Expected rows of at most {max(places - num_added, 0)} tokens. Cut "
            "them, or take a shorter prompt."
        )


def lengthen(
    base: Base, input_ids: Tensor, attention_mask: Tensor, *, num_added: int
) -> tuple[Tensor, Tensor]:
    """Make room for a prompt before the pieces of each row.

    Args:
        base: The base.
        input_ids: Pieces, [B, T].
        attention_mask: 1 for pieces, 0 for padding, [B, T].
        num_added: Size of the prompt (P).

    Returns:
        Both [B, P + T]; the first P pieces stand for those of the prompt and are no padding.
    """
    # Any piece but the padding's, by which a family may count positions.
    piece = 1 if base.pad_id == 0 else 0
    added = input_ids.new_full((len(input_ids), num_added), piece)
    seen = attention_mask.new_ones(len(attention_mask), num_added)
    return torch.cat([added, input_ids], dim=1), torch.cat([seen, attention_mask], dim=1)


def move_places(places: Tensor, *, num_tokens: int, num_added: int) -> Tensor:
    """Give where places [N], each `row * T + column`, are once every row has begun with P more.

    Example:
        >>> move_places(torch.tensor([0, 4]), num_tokens=3, num_added=2).tolist()
        [2, 8]
    """
    row, column = places // num_tokens, places % num_tokens
    return row * (num_tokens + num_added) + column + num_added
