"""Loads a package's public names on first use."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence


def make_lazy(names: Mapping[str, Sequence[str]]) -> Callable[[str], object]:
    """Make a package's `__getattr__` (PEP 562).

    Args:
        names: Which file defines which public names.
    """
    home = {name: file for file, members in names.items() for name in members}

    def load(name: str) -> object:
        if name not in home:
            raise AttributeError(f"module 'polygraft' has no attribute '{name}'")
        return vars(importlib.import_module(home[name]))[name]

    return load
