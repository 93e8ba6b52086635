"""What the frozen layers below a graft give for the same rows, computed once.

What stands below the first trained value sees the same rows in every epoch and never changes, so that from the second
epoch on it can be looked up (Houlsby et al. 2019 and Pfeiffer et al. 2020 freeze these layers; Rücklé et al. 2021 leave
the lowest of them without an adapter).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from polygraft.attach.depth import Depth, find_depth
from polygraft.train.settings import CACHE_GIB
from polygraft.train.spill import MappedFiles

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base
    from polygraft.train.settings import TrainSettings

MEMORY = int(CACHE_GIB * 1024**3)
"""Bytes that are kept in memory, unless the user says otherwise."""


@dataclass(frozen=True, kw_only=True)
class _Block:
    """A block as it is kept, and what it was."""

    kept: Tensor
    dtype: torch.dtype
    device: torch.device

    def restore(self) -> Tensor:
        return self.kept.to(device=self.device, dtype=self.dtype)


@dataclass(kw_only=True)
class _Entry:
    """What is kept of a key: one block or two."""

    blocks: tuple[_Block, ...]
    is_in_file: bool
    used: int
    """How many trainings had begun when it was last asked for."""

    @property
    def num_bytes(self) -> int:
        return sum(block.kept.nbytes for block in self.blocks)


def find_kept_depth(base: Base, graft: Graft, *, settings: TrainSettings) -> Depth:
    """Find the depth of which what stands there can be kept while a graft is trained; the bottom where nothing can.

    Args:
        base: The base.
        graft: What is trained.
        settings: How: with dropout what stands there is another thing each time, and compiled layers run in one piece.
    """
    if settings.dropout:
        return Depth()
    depth = find_depth(graft, sites=base.sites)
    # On a GPU a part of a layer is computed again rather than two blocks be moved there.
    return depth if base.device.type == "cpu" and not settings.compile else depth.whole


def say_not_kept(name: str) -> str:
    """Give the sentence for a graft that is trained with dropout, and with a cache."""
    return (
        f"Nothing is kept for later epochs while '{name}' is trained: with dropout frozen layers give something else "
        "each time."
    )


class PrefixCache:
    """Blocks of hidden states by key: in memory as long as there is room, then in memory-mapped files.

    Where there is no room, those blocks go that no training has asked for since the running ones began, first those
    that were asked for longest ago. What running trainings have asked for stays: they come to each block once in an
    epoch, and each would be gone when its turn comes. A block that finds no room all the same is computed again
    whenever it is asked for, unless it was the one asked for last.

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
        self._entries = OrderedDict[Hashable, _Entry]()
        """Those asked for last come last."""
        self._last: tuple[Hashable, Tensor] | None = None
        self._num_begun = 0
        self._running: set[int] = set()
        """The trainings that use it now, each by how many had begun with it."""

    @property
    def bytes_in_files(self) -> int:
        """Bytes of blocks that lie in memory-mapped files."""
        return self._files.used

    def measure(self) -> dict[str, float]:
        """Give how much it holds, as a manifest tells it."""
        return {
            "cache_memory_bytes": float(self.bytes_in_memory),
            "cache_file_bytes": float(self.bytes_in_files),
        }

    @contextmanager
    def serve(self) -> Generator[None]:
        """Serve one more training, inside the block.

        Those that run beside it count too: what one of them has asked for since the first of them began stays.
        """
        self._num_begun += 1
        number = self._num_begun
        self._running.add(number)
        try:
            yield
        finally:
            self._running.remove(number)

    def fetch(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        """Give the block of a key, computed at most once while there is room.

        Args:
            key: Everything that the block depends on.
            compute: Makes the block; called without recording for gradients.

        Returns:
            The block as it was computed, to the bit unless kept in float16.
        """
        entry = self._find(key)
        if self._last is not None and self._last[0] == key:
            self.num_found += 1
            return self._last[1]
        if entry is not None:
            self.num_found += 1
            block = entry.blocks[0].restore()
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
        key = ("pair", key)
        entry = self._find(key)
        if entry is not None:
            self.num_found += 1
        elif self.half or not self._make_room(num_bytes):
            return None
        else:
            self.num_computed += 1
            with torch.no_grad():
                made = compute()
            entry = self._put(key, [block.cpu().clone() for block in made], made)
        first, second = (block.restore() for block in entry.blocks)
        return first, second

    def _find(self, key: Hashable) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is not None:
            entry.used = self._num_begun
            self._entries.move_to_end(key)
        return entry

    def _keep(self, key: Hashable, block: Tensor) -> Tensor:
        narrow = self._narrow(block)
        if self._make_room(narrow.nbytes):
            # A clone, since a block may be a view into something larger.
            entry = self._put(key, [narrow.clone() if narrow is block else narrow], [block])
        else:
            stored = self._store(narrow)
            if stored is None:
                # Rounded all the same, so that room or none makes no other numbers.
                return _Block(kept=narrow, dtype=block.dtype, device=block.device).restore()
            entry = self._put(key, [stored], [block], is_in_file=True)
        # Rounded or not, the first epoch sees the same numbers as those after it.
        return entry.blocks[0].restore()

    def _put(
        self, key: Hashable, kept: Sequence[Tensor], made: Sequence[Tensor], *, is_in_file: bool = False
    ) -> _Entry:
        """Keep blocks in the form that they are kept in, beside which `made` is what they were."""
        blocks = tuple(
            _Block(kept=one, dtype=block.dtype, device=block.device)
            for one, block in zip(kept, made, strict=True)
        )
        entry = _Entry(blocks=blocks, is_in_file=is_in_file, used=self._num_begun)
        self._entries[key] = entry
        if not is_in_file:
            self.bytes_in_memory += entry.num_bytes
        return entry

    def _make_room(self, size: int) -> bool:
        """Let blocks in memory go that are not in use, as many as stand in the way of so many bytes.

        Where all of them would not be enough, none goes.
        """
        missing = self.bytes_in_memory + size - self.memory
        unused = self._list_unused(in_file=False) if missing > 0 else []
        if missing > sum(self._entries[key].num_bytes for key in unused):
            return False
        for key in unused:
            if self.bytes_in_memory + size <= self.memory:
                break
            self._drop(key)
        return True

    def _store(self, tensor: Tensor) -> Tensor | None:
        """Copy a tensor into a file; while the disk has no room, blocks in files that are not in use go."""
        stored = self._files.store(tensor)
        for key in self._list_unused(in_file=True) if stored is None else []:
            self._drop(key)
            stored = self._files.store(tensor)
            if stored is not None:
                break
        return stored

    def _list_unused(self, *, in_file: bool) -> list[Hashable]:
        """List the keys of what no training asked for since the running ones began, longest ago first."""
        first = min(self._running, default=self._num_begun)
        unused = takewhile(lambda item: item[1].used < first, self._entries.items())
        return [key for key, entry in unused if entry.is_in_file == in_file]

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key)
        if entry.is_in_file:
            self._files.release(entry.num_bytes)
        else:
            self.bytes_in_memory -= entry.num_bytes

    def _narrow(self, block: Tensor) -> Tensor:
        block = block.cpu()
        if not self.half or block.dtype != torch.float32:
            return block
        rounded = block.half()
        return rounded if bool(torch.isfinite(rounded).all()) else block


def serve(cache: PrefixCache | None) -> AbstractContextManager[None]:
    """Let a cache serve a training inside the block, if there is one."""
    return nullcontext() if cache is None else cache.serve()
