"""The address of a dataset: `hf:PLACE:SPLIT` or `hf:PLACE:CONFIG:SPLIT`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from polygraft.errors import DataError

PREFIX = "hf:"
_ADDRESS = re.compile(r"hf:(?P<place>[^:]+)(:(?P<config>[^:\[\]]+))??(:(?P<split>[^:\[\]]+(\[[^\[\]]*\])?))?")


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a dataset is.

    Args:
        place: A folder, or `OWNER/NAME` on the hub.
        config: The part of it that is meant, if it has several.
        split: `train`, `test` ...; None for a folder with a single dataset.
    """

    place: str
    config: str | None = None
    split: str | None = None

    def __str__(self) -> str:
        """Give the address as it is written."""
        parts = [self.place, *(part for part in (self.config, self.split) if part is not None)]
        return PREFIX + ":".join(parts)

    def find_folder(self) -> Path | None:
        """Give the folder, or None where the place is on the hub."""
        folder = Path(self.place).expanduser()
        return folder if folder.is_dir() else None


def is_address(path: Path | str) -> bool:
    """Tell whether a value names a dataset and no file."""
    return str(path).startswith(PREFIX)


def parse_address(path: Path | str) -> Address:
    """Read the address of a dataset.

    Args:
        path: The address.

    Raises:
        DataError: It cannot be read.

    Example:
        >>> parse_address("hf:owner/name:en:train[:100]")
        Address(place='owner/name', config='en', split='train[:100]')
    """
    found = _ADDRESS.fullmatch(str(path))
    if found is None:
        raise DataError(
            f"'{path}' names no dataset. Expected hf:OWNER/NAME:SPLIT, hf:OWNER/NAME:CONFIG:SPLIT or hf:FOLDER:SPLIT. "
            "Correct it."
        )
    return Address(place=found["place"], config=found["config"], split=found["split"])


def place_address(path: Path | str, root: Path) -> Path:
    """Give an address seen from a folder: one of a folder in it is made so that it can be found from elsewhere.

    Args:
        path: The address.
        root: The folder.

    Raises:
        DataError: It cannot be read.
    """
    address = parse_address(path)
    placed = Address(
        place=str(root / Path(address.place).expanduser()), config=address.config, split=address.split
    )
    return Path(str(address if placed.find_folder() is None else placed))
