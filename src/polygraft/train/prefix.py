"""What the frozen layers below a graft give for the same rows, computed once.

What stands below the first trained value sees the same rows in every epoch and never changes, so that from the second
epoch on it can be looked up (Houlsby et al. 2019 and Pfeiffer et al. 2020 freeze these layers; Rücklé et al. 2021 leave
the lowest of them without an adapter).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from polygraft.attach.depth import Depth, find_depth
from polygraft.train.spill import MappedFiles

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base

MEMORY = 2 * 1024**3
"""Bytes that are kept in memory, unless the user says otherwise."""


@dataclass(frozen=True, kw_only=True)
class _Block:
    """A block as it is kept, and what it was."""

    kept: Tensor
    dtype: torch.dtype
    device: torch.device

    def restore(self) -> Tensor:
        return self.kept.to(device=self.device, dtype=self.dtype)


def find_kept_depth(base: Base, graft: Graft, *, is_compiled: bool) -> Depth:
    """Find the depth of which what stands there can be kept while a graft is trained.

    Args:
        base: The base.
        graft: What is trained.
        is_compiled: Whether the base's layers are compiled, each in one piece.
    """
    depth = find_depth(graft, sites=base.sites)
    # On a GPU a part of a layer is computed again rather than two blocks be moved there.
    return depth if base.device.type == "cpu" and not is_compiled else depth.whole


class PrefixCache:
    """Blocks of hidden states by key: in memory as long as there is room, then in memory-mapped files.

    A block that finds no room is computed again whenever it is asked for, unless it was the one asked for last.

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
        self._blocks: dict[Hashable, _Block] = {}
        self._pairs: dict[Hashable, tuple[_Block, _Block]] = {}
        self._last: tuple[Hashable, Tensor] | None = None

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

    def fetch(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        """Give the block of a key, computed at most once while there is room.

        Args:
            key: Everything that the block depends on.
            compute: Makes the block; called without recording for gradients.

        Returns:
            The block as it was computed, to the bit unless kept in float16.
        """
        if self._last is not None and self._last[0] == key:
            self.num_found += 1
            return self._last[1]
        if key in self._blocks:
            self.num_found += 1
            block = self._blocks[key].restore()
        else:
            self.num_computed += 1
            with torch.no_grad():
                block = self._keep(key, compute())
        self._last = (key, block)
        return block

    def fetch_pair(
        self, key: Hashable, compute: Callable[[], tuple[Tensor, Tensor]], *, num_bytes: int
    ) -> tuple[Tensor, Tensor] | None:
        """Give the two blocks of a key, computed once; None where the memory has no room or blocks are rounded.

        They lie in no file, and are not rounded: two blocks save little more than one of a lower depth does.

        Args:
            key: Everything that they depend on.
            compute: Makes them; called without recording for gradients.
            num_bytes: What both take at most.
        """
        if key in self._pairs:
            self.num_found += 1
        elif self.half or self.bytes_in_memory + num_bytes > self.memory:
            return None
        else:
            self.num_computed += 1
            with torch.no_grad():
                made = compute()
            self._pairs[key] = tuple(  # pyright: ignore[reportArgumentType] (there are two)
                _Block(kept=block.cpu().clone(), dtype=block.dtype, device=block.device) for block in made
            )
            self.bytes_in_memory += sum(block.nbytes for block in made)
        first, second = self._pairs[key]
        return first.restore(), second.restore()

    def _keep(self, key: Hashable, block: Tensor) -> Tensor:
        narrow = self._narrow(block)
        size = narrow.numel() * narrow.element_size()
        if self.bytes_in_memory + size <= self.memory:
            self.bytes_in_memory += size
            # A clone, since a block may be a view into something larger.
            kept = narrow.clone() if narrow is block else narrow
        else:
            stored = self._files.store(narrow)
            if stored is None:
                # Rounded all the same, so that room or none makes no other numbers.
                return _Block(kept=narrow, dtype=block.dtype, device=block.device).restore()
            kept = stored
        self._blocks[key] = _Block(kept=kept, dtype=block.dtype, device=block.device)
        # Rounded or not, the first epoch sees the same numbers as those after it.
        return self._blocks[key].restore()

    def _narrow(self, block: Tensor) -> Tensor:
        block = block.cpu()
        if not self.half or block.dtype != torch.float32:
            return block
        rounded = block.half()
        return rounded if bool(torch.isfinite(rounded).all()) else block
