"""Batches of which pieces are guessed: hidden ones, or the next one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class GuessBatch:
    """The rows that a base sees, and what it has to guess from what it makes of them.

    Args:
        input_ids: Token ids; where hidden tokens are guessed, with these replaced.
        attention_mask: 1 at tokens, 0 at padding.
        positions: From which places tokens are guessed, in the flattened batch, ascending.
        targets: The tokens that are right: what stood there, or what comes next.
    """

    input_ids: Int64[Tensor, "B T"]
    attention_mask: Int64[Tensor, "B T"]
    positions: Int64[Tensor, " N"]
    targets: Int64[Tensor, " N"]

    def to(self, device: torch.device | str) -> GuessBatch:
        """Give the same batch with its tensors on a device.

        Args:
            device: Where the base is.
        """
        return GuessBatch(
            input_ids=self.input_ids.to(device),
            attention_mask=self.attention_mask.to(device),
            positions=self.positions.to(device),
            targets=self.targets.to(device),
        )
