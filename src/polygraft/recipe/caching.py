"""Where the output of frozen layers is kept while a task is trained, as a user asks for it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, get_args

from polygraft.errors import OptionError, nearest
from polygraft.settings import load_launch
from polygraft.train.prefix import PrefixCache

GIB = 1024**3
CacheKind = Literal["exact", "half", "off"]
"""With the same numbers to the bit, in float16, or not at all."""


def check_cache(kind: str, *, gib: float) -> None:
    """Refuse what cannot be meant.

    Raises:
        OptionError: There is no such kind, or the room is below 0.
    """
    kinds = get_args(CacheKind)
    if kind not in kinds:
        raise OptionError(
            f"The cache is '{kind}'. Expected {', '.join(kinds)}.{nearest(kind, kinds)} Correct the word."
        )
    if not 0 <= gib < math.inf:
        raise OptionError(
            f"The cache has {gib:g} gigabytes of memory. Expected 0 or more. Give another number; 0 keeps all of it in "
            "files."
        )


def find_memory(gib: float) -> int:
    """Give the bytes that each process has of a cache's memory: as many for each of those on this machine.

    Args:
        gib: Gigabytes (2**30 bytes) of all of them together.
    """
    return int(gib * GIB) // load_launch().local_count


def open_cache(kind: CacheKind, *, gib: float, folder: Path, has_dropout: bool = False) -> PrefixCache | None:
    """Make what keeps the output of frozen layers; None where nothing is to be kept.

    Args:
        kind: How exactly.
        gib: Gigabytes (2**30 bytes) of it in memory, of all processes on this machine together.
        folder: Where the rest lies.
        has_dropout: Whether what uses it trains with dropout, which keeps nothing. A kind that is not the usual one was
            asked for, and who asked is told so when the training begins.
    """
    if kind == "off" or (has_dropout and kind == "exact"):
        return None
    return PrefixCache(memory=find_memory(gib), folder=folder, half=kind == "half")
