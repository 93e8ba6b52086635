"""Which places of several weights are set, as a graft holds it: packed bytes, unpacked once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from polygraft.errors import GraftError
from polygraft.parts.edit import list_starts
from polygraft.parts.places import decode_places


class StoredPlaces(nn.Module):
    """Places in a packed code, which is a tensor of the graft.

    Args:
        kind: What messages call the part that has them.
        num_bytes: Size of the code.
    """

    def __init__(self, kind: str, *, num_bytes: int) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("code", torch.zeros(num_bytes, dtype=torch.uint8))
        self._decoded: list[Tensor] = []
        self._starts: list[int] = []
        self._version = -1

    def decode(self, sizes: Sequence[int], *, total: int) -> list[Tensor]:
        """Give the sorted flat places of each weight, int64.

        Args:
            sizes: How many numbers each weight has.
            total: How many places there are in all.

        Raises:
            GraftError: The code is not that of so many places.
        """
        code = self.get_buffer("code")
        if self._version != code._version or (self._decoded and self._decoded[0].device != code.device):
            decoded = decode_places(code.cpu(), sizes=sizes, where=f"The part '{self.kind}'")
            found = sum(len(places) for places in decoded)
            if found != total:
                raise GraftError(
                    f"The places of the part '{self.kind}' are {found}, where {total} were expected by its other "
                    "tensors."
                )
            self._decoded, self._version = [places.to(code.device) for places in decoded], code._version
            self._starts = list_starts([len(places) for places in decoded])
        return self._decoded

    def list_starts(self, sizes: Sequence[int], *, total: int) -> list[int]:
        """List where each weight's places begin among all of them, and where the last one's end; as `decode` does."""
        self.decode(sizes, total=total)
        return self._starts
