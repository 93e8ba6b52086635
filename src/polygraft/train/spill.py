"""Tensors that find no room in memory, in memory-mapped files."""

from __future__ import annotations

import mmap
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

FILE_BYTES = 256 * 1024**2
"""Size of one memory-mapped file, or of one block where that is larger."""
FREE_DISK = 2 * 1024**3
"""Bytes that are left free where the files lie."""
ALIGNMENT = 64
"""Where a block may begin in a file, in bytes: as allocated memory does, so that products run alike on it."""


class MappedFiles:
    """Tensors in files that have no name any more: they vanish with the process, however it ends.

    Args:
        folder: Where the files lie; None for the system's folder for such files.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = Path(tempfile.gettempdir()) if folder is None else folder
        self.used = 0
        self._file: mmap.mmap | None = None
        self._place = 0

    def store(self, tensor: Tensor) -> Tensor | None:
        """Copy a tensor into a file and give the copy; None where the disk has no room for it."""
        size = tensor.numel() * tensor.element_size()
        if self._file is None or self._place + size > len(self._file):
            # Before room is looked for: a full file whose tensors are gone takes none from here on.
            self._file = None
            self._file = self._open(max(FILE_BYTES, size))
            self._place = 0
        if self._file is None:
            return None
        flat = torch.frombuffer(self._file, dtype=tensor.dtype, count=tensor.numel(), offset=self._place)
        stored = flat.view(tensor.shape)
        stored.copy_(tensor)
        self._place += -(-size // ALIGNMENT) * ALIGNMENT
        self.used += size
        return stored

    def release(self, size: int) -> None:
        """Count so many bytes as used no longer. The disk has a file's room again when all of its tensors are gone."""
        self.used -= size

    def _open(self, size: int) -> mmap.mmap | None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self.folder).free < size + FREE_DISK:
                return None
            with tempfile.TemporaryFile(dir=self.folder) as file:
                file.truncate(size)
                if sys.platform == "linux":
                    # Now, because a full disk would later end the process.
                    os.posix_fallocate(file.fileno(), 0, size)
                return mmap.mmap(file.fileno(), size)
        except OSError:
            # Without files more is computed, and nothing else changes.
            return None
