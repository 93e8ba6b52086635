"""Any address that fsspec knows (s3://, gs://, https:// ...), as a place to push to and pull from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from polygraft.errors import MissingExtraError, StoreError
from polygraft.store.graft import MANIFEST, TENSORS
from polygraft.store.place import copy_bounded, unreachable

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


class FsspecPlace:
    """A folder behind one of fsspec's protocols.

    Args:
        address: The folder's address, with its protocol.

    Raises:
        MissingExtraError: fsspec, or what it needs for the protocol, is not installed.
        StoreError: fsspec does not know the protocol.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._system, root = _open(address)
        self._root = root.rstrip("/")

    def fetch(self, name: str, target: Path, *, limit: int) -> bool:
        """Copy a file from there, at most `limit` bytes of it; False if it is not there."""
        try:
            with self._system.open(f"{self._root}/{name}", "rb") as file:
                copy_bounded(cast("BinaryIO", file), target, limit=limit, shown_as=f"{self.address}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return False
        except StoreError:
            raise
        except Exception as error:
            raise unreachable(self.address, "read", error) from error
        return True

    def send(self, folder: Path) -> None:
        """Copy a graft's files there, the manifest last, so that a reader never sees half of it."""
        try:
            self._system.makedirs(self._root, exist_ok=True)
            if self._system.exists(f"{self._root}/{MANIFEST}"):
                self._system.rm_file(f"{self._root}/{MANIFEST}")
            for name in (TENSORS, MANIFEST):
                self._system.put_file(str(folder / name), f"{self._root}/{name}")
        except Exception as error:
            raise unreachable(self.address, "written", error) from error


def _open(address: str) -> tuple[AbstractFileSystem, str]:
    protocol = address.split("://", 1)[0]
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise MissingExtraError(
            f"The address '{address}' needs fsspec, which is not installed. "
            "Folders and hf:// addresses work without it. Run `pip install 'polygraft[remote]'`."
        ) from None
    try:
        return url_to_fs(address)
    except ImportError as error:
        raise MissingExtraError(
            f"The address '{address}' needs a library that is not installed: {error}. "
            f"fsspec has one for each protocol. Install the one for {protocol}://."
        ) from None
    except Exception as error:
        raise unreachable(address, "opened", error) from error
