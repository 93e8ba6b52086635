"""Rows that begin with the prompt of a graft."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from polygraft.base.base import Base


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
