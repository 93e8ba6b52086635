"""The versions in a graft's folder, and the file that says which of them the name means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from polygraft.errors import StoreError
from polygraft.store.fields import shown
from polygraft.store.files import check_folder, list_entries, list_folders, read_plain, sync_folder, write_new

LATEST = "latest"
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_LATEST_BYTES = 32
_LISTED = 14


def is_version(text: str) -> bool:
    """Whether a folder of that name can hold a version."""
    return _VERSION.fullmatch(text) is not None


def list_versions(folder: Path) -> list[int]:
    """List the versions in a graft's folder, oldest first; what is no folder is left out.

    Raises:
        StoreError: The folder may not be read.
    """
    return sorted(int(text) for text in list_folders(folder) if is_version(text))


def check_versions(folder: Path) -> None:
    """Make sure that whatever is named like a version is a folder.

    Raises:
        StoreError: Something else is, or the folder may not be read.
    """
    for entry in list_entries(folder):
        if is_version(entry.name):
            # One that was removed since is none.
            with suppress(FileNotFoundError):
                check_folder(Path(entry))


def find_free_version(folder: Path) -> int:
    """Give the version after all that are there, and after whatever else has such a name."""
    taken = [int(entry.name) for entry in list_entries(folder) if is_version(entry.name)]
    return max(taken, default=0) + 1


def read_latest(folder: Path, found: Sequence[int]) -> int:
    """Read which version is meant when none is named: the newest where nothing says so.

    Args:
        folder: The graft's folder.
        found: Its versions, oldest first; at least one.

    Raises:
        StoreError: Another version is named.
    """
    path = folder / LATEST
    try:
        data = read_plain(path, limit=_LATEST_BYTES)
    except FileNotFoundError:
        return found[-1]
    text = data.decode("ascii", "replace").removesuffix("\n")
    if not is_version(text) or int(text) not in found:
        raise StoreError(
            f"{path} holds {shown(text)}, where one of the versions {say_versions(found)} was expected. "
            "The file was changed after it was written. Ask for a version by its number, "
            "or remove the file to use the newest."
        )
    return int(text)


def write_latest(folder: Path, version: int, *, unfinished: Path) -> None:
    """Write which version is meant when none is named.

    Args:
        folder: The graft's folder.
        version: The version.
        unfinished: A free path on the same disk, where the file is written first.
    """
    write_new(unfinished, f"{version}\n".encode())
    unfinished.replace(folder / LATEST)
    sync_folder(folder)


def say_versions(versions: Sequence[int]) -> str:
    """Say which versions there are, the newest of many.

    Example:
        >>> say_versions([1, 2, 3])
        '1, 2, 3'
    """
    text = ", ".join(str(version) for version in versions[-_LISTED:])
    return text if len(versions) <= _LISTED else f"..., {text}"
