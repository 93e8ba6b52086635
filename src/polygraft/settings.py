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


def read_variable(name: str) -> str | None:
    """Give the value of an environment variable, or None where it is not set.

    Recipes name folders by variables, as in `${POLYGRAFT_DATA}`.
    """
    return os.environ.get(name)
