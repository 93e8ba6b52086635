"""What steps took, kept in the run's folder: a run that goes on later still tells it, beside what was expected then."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from polygraft.errors import PolygraftError
from polygraft.report.reader import from_plain, to_plain
from polygraft.store.files import replace_file

FOLDER = "steps"
"""In the run's folder."""


@dataclass(frozen=True, kw_only=True)
class StepTaken:
    """What a step took in all sittings so far, and what it was expected to take when it was begun."""

    is_done: bool
    """Whether it ended; what was stopped goes on with more."""
    seconds: float
    memory_bytes: int
    """The largest resident size of the process."""
    num_bytes: int
    """What stays on disk."""
    predicted_seconds: float | None = None
    predicted_memory_bytes: int | None = None
    predicted_bytes: int | None = None
    is_bound: bool = False
    """Whether training could stop early, so that the prediction is the most that it takes."""
    sittings: tuple[str, ...]
    """When the runs began in which it was worked on, ISO 8601."""


def find_taken(folder: Path) -> Path:
    """Give the folder of what steps took.

    Args:
        folder: The run's.
    """
    return folder / FOLDER


def save_taken(folder: Path, digest: str, taken: StepTaken) -> None:
    """Keep what a step took, whole or not at all.

    Args:
        folder: Of `find_taken`.
        digest: Of the step.
        taken: What it took.
    """
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / f"{digest}.json", json.dumps(to_plain(taken)).encode())


def load_taken(folder: Path, digest: str) -> StepTaken | None:
    """Give what a step of the same digest took, or None where that is not known or cannot be read."""
    path = folder / f"{digest}.json"
    try:
        return cast(
            "StepTaken", from_plain(json.loads(path.read_text(encoding="utf-8")), StepTaken, place=path.name)
        )
    except (OSError, ValueError, PolygraftError):
        # It is told for the reader alone: nothing depends on it.
        return None
