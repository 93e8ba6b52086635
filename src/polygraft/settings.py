"""What the environment says: the only file that reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PREFIX = "POLYGRAFT_"
OFF = "off"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Defaults of the command line, where an option comes before each of them, and the folder of the token cache."""

    store: Path = Path("store")
    """The folder of grafts: POLYGRAFT_STORE."""
    base: str = "bundled"
    """The base that is loaded: POLYGRAFT_BASE."""
    device: str = "auto"
    """Where the base is put: POLYGRAFT_DEVICE."""
    dtype: str = "auto"
    """The number format that the base is computed in: POLYGRAFT_DTYPE."""
    cache: Path | None = None
    """Where the tokens of texts are kept: POLYGRAFT_CACHE, or `polygraft` in the user's cache folder. None keeps
    none."""


def load_settings(variables: Mapping[str, str] | None = None) -> Settings:
    """Read the defaults from the environment; an empty variable counts as none.

    Args:
        variables: Names and values; None takes the process' environment.

    Example:
        >>> load_settings({"POLYGRAFT_BASE": "xlm-roberta-base"}).base
        'xlm-roberta-base'
    """
    found = os.environ if variables is None else variables
    defaults = Settings()
    return Settings(
        store=Path(found.get(PREFIX + "STORE") or defaults.store),
        base=found.get(PREFIX + "BASE") or defaults.base,
        device=found.get(PREFIX + "DEVICE") or defaults.device,
        dtype=found.get(PREFIX + "DTYPE") or defaults.dtype,
        cache=_find_cache(found),
    )


def _find_cache(found: Mapping[str, str]) -> Path | None:
    """Give the folder of the token cache; None where it is switched off, or the user has no folder."""
    chosen = found.get(PREFIX + "CACHE")
    if chosen is not None and chosen.lower() == OFF:
        return None
    try:
        return Path(chosen or Path(found.get("XDG_CACHE_HOME") or "~/.cache") / "polygraft").expanduser()
    except RuntimeError:
        return None


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Which of the processes that a launcher started together this one is (`torchrun`, `accelerate launch`)."""

    index: int = 0
    """Counted from 0, over all machines: RANK."""
    count: int = 1
    """How many there are: WORLD_SIZE."""
    local_index: int = 0
    """Counted from 0, on this machine: LOCAL_RANK."""
    local_count: int = 1
    """How many there are on this machine: LOCAL_WORLD_SIZE; all of them where a launcher does not say it."""

    @property
    def is_first(self) -> bool:
        """Whether this one writes and prints for all."""
        return self.index == 0


def load_launch(variables: Mapping[str, str] | None = None) -> Launch:
    """Read what a launcher says; without one, this process is alone.

    Args:
        variables: Names and values; None takes the process' environment.

    Example:
        >>> load_launch({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}).index
        3
        >>> load_launch({}).count
        1
    """
    found = os.environ if variables is None else variables
    count = int(found.get("WORLD_SIZE") or 1)
    if count == 1:
        return Launch()
    return Launch(
        index=int(found.get("RANK") or 0),
        count=count,
        local_index=int(found.get("LOCAL_RANK") or 0),
        local_count=int(found.get("LOCAL_WORLD_SIZE") or count),
    )


def read_variable(name: str) -> str | None:
    """Give the value of an environment variable, or None where it is not set.

    Recipes name folders by variables, as in `${POLYGRAFT_DATA}`.
    """
    return os.environ.get(name)
