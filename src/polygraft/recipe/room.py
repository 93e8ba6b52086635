"""What of a plan does not fit on this machine, in sentences."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polygraft.report.numbers import format_bytes

if TYPE_CHECKING:
    from polygraft.recipe.events import PlannedStep


def check_memory(steps: Sequence[PlannedStep], *, free: int | None) -> list[str]:
    """Say which steps need more memory than there is.

    Args:
        steps: Those of a run.
        free: What the process can still take, the loaded base not counted; None where nothing tells it.
    """
    largest = max(steps, key=lambda step: step.above_bytes or 0, default=None)
    if largest is None or largest.above_bytes is None or free is None or largest.above_bytes <= free:
        return []
    num_more = sum((step.above_bytes or 0) > free for step in steps) - 1
    more = "1 other step needs" if num_more == 1 else f"{num_more} other steps need"
    others = f" ({more} more than that, too)" if num_more else ""
    return [
        f"The step '{largest.name}' is expected to need {format_bytes(largest.above_bytes)} of memory beside the "
        f"loaded base, and {format_bytes(free)} are free{others}. Expected no more than that, or the system may end "
        "the run. Give smaller batches (batch_tokens), train with recompute = true, choose another method, or close "
        "other programs."
    ]


def check_disk(needs: Sequence[tuple[Path, int]]) -> list[str]:
    """Say which folders have less room than a run needs there.

    Args:
        needs: Folders, made or not, each with the most bytes that are needed in it at once.
    """
    found: dict[int, tuple[list[Path], int, int]] = {}
    for folder, num_bytes in needs:
        place = find_existing(folder)
        folders, needed, _ = found.get(place.stat().st_dev, ([], 0, 0))
        free = shutil.disk_usage(place).free
        found[place.stat().st_dev] = ([*folders, folder], needed + num_bytes, free)
    return [
        f"The run is expected to need {format_bytes(needed)} on the disk of {' and '.join(map(str, folders))}, and "
        f"{format_bytes(free)} are free there. Expected no more than that. Make room, or name folders on another disk "
        "(`store` and `runs`)."
        for folders, needed, free in found.values()
        if needed > free
    ]


def find_existing(folder: Path) -> Path:
    """Give a folder, or the nearest one above it that is there."""
    place = folder.absolute()
    return next(each for each in (place, *place.parents) if each.is_dir())
