"""Where trainings outside of a recipe keep their checkpoints: a folder for each, in the store, while it is not done."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from polygraft.errors import StoreError, TrainError
from polygraft.settings import load_launch
from polygraft.store.files import LOCK, locked, locked_alone

if TYPE_CHECKING:
    from polygraft.store.store import Store

CHECKPOINTS = ".checkpoints"
"""The folder in a store where trainings in progress are."""
DIGITS = 16
"""How much of a training's digest stands in the name of its folder."""


def find_folder(store: Store, name: str, digest: str) -> Path:
    """Give the folder of a training's checkpoints.

    Args:
        store: Where the graft will be.
        name: The graft's.
        digest: Of all that its values depend on, so that other settings have another folder.
    """
    return store.folder / CHECKPOINTS / f"{name}-{digest[:DIGITS]}"


@contextmanager
def hold_folder(store: Store, name: str, digest: str) -> Generator[Path]:
    """Keep other processes out of a training's folder, and let it vanish at the end if no checkpoint is in it.

    Of several processes that a launcher started, the first holds it for all.

    Args:
        store: Where the graft will be.
        name: The graft's.
        digest: Of all that its values depend on.

    Raises:
        TrainError: The same training is at work already.
    """
    folder = find_folder(store, name, digest)
    if not load_launch().is_first:
        yield folder
        return
    refusal = TrainError(
        f"Another training of '{name}' with the same data and settings is at work in {folder}. Expected "
        "one at a time, because they would remove each other's checkpoints. Wait for it or end it, and "
        "then give the same command again."
    )
    store.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # Nobody removes the folder between the two.
        with locked(store.folder):
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked_alone(folder, refusal=refusal))
        try:
            yield folder
        finally:
            stack.close()
            _remove_empty(store, folder)


def _remove_empty(store: Store, folder: Path) -> None:
    """Remove a folder in which nothing is but a lock that nobody holds, and the one around it after the last."""
    # What cannot be removed does no harm: a folder of the same name is used again.
    with suppress(StoreError, OSError), locked(store.folder), locked(folder, seconds=0):
        if [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()
            folder.parent.rmdir()
