"""What the frozen layers below a graft give for the same rows, computed once.

What stands below the first trained value sees the same rows in every epoch and never changes, so that from the second
epoch on it can be looked up (Houlsby et al. 2019 and Pfeiffer et al. 2020 freeze these layers; Rücklé et al. 2021 leave
the lowest of them without an adapter).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from polygraft.train.spill import MappedFiles

if TYPE_CHECKING:
    from torch import Tensor

Block = tuple["Tensor", ...]
"""What is kept and given together."""
MEMORY = 2 * 1024**3
"""Bytes that are kept in memory, unless the user says otherwise."""


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """A tensor as it is kept, and what it was."""

    kept: Tensor
    dtype: torch.dtype
    device: torch.device

    def restore(self) -> Tensor:
        return self.kept.to(device=self.device, dtype=self.dtype)


class PrefixCache:
    """Blocks of hidden states by key: in memory as long as there is room, then in memory-mapped files.

    A block is one or more tensors. One that finds no room is computed again whenever it is asked for, unless it was the
    one asked for last.

    Args:
        memory: Bytes to keep in memory.
        folder: Where the files lie, which vanish with the process; None for the system's folder for such files.
        half: Whether to keep float32 blocks in float16, where it can tell their values: half the bytes, and numbers
            that differ in the fourth digit.
    """

    def __init__(self, *, memory: int = MEMORY, folder: Path | None = None, half: bool = False) -> None:
        self.memory = memory
        self.half = half
        self.num_found = 0
        self.num_computed = 0
        self.bytes_in_memory = 0
        self._files = MappedFiles(folder)
        self._blocks: dict[Hashable, tuple[_Kept, ...]] = {}
        self._last: tuple[Hashable, Block] | None = None

    @property
    def bytes_in_files(self) -> int:
        """Bytes that lie in memory-mapped files."""
        return self._files.used

    def measure(self) -> dict[str, float]:
        """Give how much it holds, as a manifest tells it."""
        return {
            "cache_memory_bytes": float(self.bytes_in_memory),
            "cache_file_bytes": float(self.bytes_in_files),
        }

    def fetch(self, key: Hashable, compute: Callable[[], Block], *, in_files: bool = True) -> Block:
        """Give the block of a key, computed at most once while there is room.

        Args:
            key: Everything that the block depends on.
            compute: Makes the block; called without recording for gradients.
            in_files: Whether it may lie in files where the memory is full.

        Returns:
            The block as it was computed, to the bit unless kept in float16.
        """
        if self._last is not None and self._last[0] == key:
            self.num_found += 1
            return self._last[1]
        if key in self._blocks:
            self.num_found += 1
            block = _restore(self._blocks[key])
        else:
            self.num_computed += 1
            with torch.no_grad():
                block = self._keep(key, compute(), in_files=in_files)
        self._last = (key, block)
        return block

    def _keep(self, key: Hashable, block: Block, *, in_files: bool) -> Block:
        narrow = [self._narrow(tensor) for tensor in block]
        size = sum(tensor.nbytes for tensor in narrow)
        if self.bytes_in_memory + size <= self.memory:
            self.bytes_in_memory += size
            # Clones, since a tensor may be a view into something larger.
            kept = [own.clone() if own is tensor else own for own, tensor in zip(narrow, block, strict=True)]
        else:
            kept = self._store(narrow) if in_files else None
        made = tuple(
            _Kept(kept=own, dtype=tensor.dtype, device=tensor.device)
            # Without room rounded all the same, so that room or none makes no other numbers.
            for own, tensor in zip(kept or narrow, block, strict=True)
        )
        if kept is not None:
            self._blocks[key] = made
        # Rounded or not, the first epoch sees the same numbers as those after it.
        return _restore(made)

    def _store(self, tensors: Sequence[Tensor]) -> list[Tensor] | None:
        stored: list[Tensor] = []
        for tensor in tensors:
            copy = self._files.store(tensor)
            if copy is None:
                return None
            stored.append(copy)
        return stored

    def _narrow(self, tensor: Tensor) -> Tensor:
        tensor = tensor.cpu()
        if not self.half or tensor.dtype != torch.float32:
            return tensor
        rounded = tensor.half()
        return rounded if bool(torch.isfinite(rounded).all()) else tensor


def _restore(kept: Sequence[_Kept]) -> Block:
    return tuple(each.restore() for each in kept)
