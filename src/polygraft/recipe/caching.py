"""Where the output of frozen layers is kept while a task is trained, as a user asks for it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, get_args

from polygraft.errors import OptionError, nearest
from polygraft.train.prefix import MEMORY, PrefixCache

GIB = 1024**3
CACHE_GIB = MEMORY / GIB
"""Gigabytes (2**30 bytes) in memory, unless the user says otherwise."""
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


def open_cache(kind: CacheKind, *, gib: float, folder: Path) -> PrefixCache | None:
    """Make what keeps the output of frozen layers; None where nothing is to be kept.

    Args:
        kind: How exactly.
        gib: Gigabytes (2**30 bytes) of it in memory.
        folder: Where the rest lies.
    """
    if kind == "off":
        return None
    return PrefixCache(memory=int(gib * GIB), folder=folder, half=kind == "half")
