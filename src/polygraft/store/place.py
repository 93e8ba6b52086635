"""What every place outside a store can do: hand over a graft's files and take them."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Protocol

from polygraft.errors import StoreError

_BLOCK = 1 << 20


class Place(Protocol):
    """Somewhere that holds one graft's two files."""

    def fetch(self, name: str, target: Path, *, limit: int) -> bool:
        """Copy a file from there, at most `limit` bytes of it; False if it is not there."""
        ...

    def send(self, folder: Path) -> None:
        """Copy a graft's two files there out of a folder, the manifest last."""
        ...


def copy_bounded(source: BinaryIO, target: Path, *, limit: int, shown_as: str) -> None:
    """Copy an open file to a new one, however large it says it is, up to a limit.

    Raises:
        StoreError: There are more bytes than the limit.
    """
    num_bytes = 0
    with target.open("xb") as file:
        while block := source.read(_BLOCK):
            num_bytes += len(block)
            if num_bytes > limit:
                raise too_large(shown_as, limit=limit)
            file.write(block)


def too_large(shown_as: str, *, limit: int) -> StoreError:
    """Make the error for a file with more bytes than it may have."""
    return StoreError(
        f"{shown_as} has more than {limit} bytes, the most that were expected there. "
        "The file was changed, or polygraft did not write it. Push the graft again, over what is there."
    )


def unreachable(address: str, deed: str, error: Exception) -> StoreError:
    """Make the error for an address that cannot be read or written."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return StoreError(
        f"{address} cannot be {deed}: {reason.removesuffix('.')}. An address that this machine may reach was "
        "expected. Check the address, the network and your permissions, then try again."
    )
