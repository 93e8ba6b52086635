"""A folder on this machine, as a place to push to and pull from."""

from __future__ import annotations

from pathlib import Path

from polygraft.store.files import check_folder, flush, leftover, open_plain, sync_folder
from polygraft.store.graft import MANIFEST, TENSORS
from polygraft.store.place import copy_bounded, unreachable


class FolderPlace:
    """A folder on this machine; its links are refused.

    Args:
        folder: The folder; `send` makes it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fetch(self, name: str, target: Path, *, limit: int) -> bool:
        """Copy a file from the folder, at most `limit` bytes of it; False if it is not there."""
        path = self.folder / name
        try:
            with open_plain(path) as file:
                copy_bounded(file, target, limit=limit, shown_as=str(path))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise unreachable(str(self.folder), "read", error) from error
        return True

    def send(self, folder: Path) -> None:
        """Copy a graft's files there, each whole or not at all; no manifest is there until all else is."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            check_folder(self.folder)
            (self.folder / MANIFEST).unlink(missing_ok=True)
            sync_folder(self.folder)
            for name in (TENSORS, MANIFEST):
                self._send(folder / name)
            sync_folder(self.folder)
        except OSError as error:
            raise unreachable(str(self.folder), "written", error) from error

    def _send(self, path: Path) -> None:
        unfinished = leftover(self.folder)
        try:
            with open_plain(path) as source:
                copy_bounded(source, unfinished, limit=path.stat().st_size, shown_as=str(path))
            with unfinished.open("r+b") as file:
                flush(file)
            unfinished.replace(self.folder / path.name)
        finally:
            unfinished.unlink(missing_ok=True)
