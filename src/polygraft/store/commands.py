"""The commands that messages about stored grafts name, with the store where it is not the usual one."""

from __future__ import annotations

import shlex
from pathlib import Path

from polygraft.settings import load_settings


def say_store(folder: Path) -> str:
    """Give the option that a command needs for a store, with a space before it; empty for the usual store.

    Args:
        folder: The store's.
    """
    return "" if folder == load_settings().store else f" --store {shlex.quote(str(folder))}"


def say_again(folder: Path) -> str:
    """Say what can be done about a stored graft that is no good.

    Args:
        folder: Its version's; without a store before it, the usual one is meant.
    """
    store = folder.parent.parent
    option = say_store(store) if store.name else ""
    remove = f"polygraft grafts remove {folder.parent.name} --version {folder.name}{option}"
    return f"Train or import the graft again, or remove it with `{remove}`."
