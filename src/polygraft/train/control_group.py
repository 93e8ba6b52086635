"""The memory that a limit set from outside leaves to this process: containers and batch systems set one on Linux."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

GROUPS = Path("/proc/self/cgroup")
"""Where Linux tells which control groups this process is in: lines of NUMBER:CONTROLLERS:PATH. The one line of version
2 names no controllers (cgroups(7))."""
SHOWN = Path("/sys/fs/cgroup")
"""The folder in which the groups of version 2 are shown, and those of version 1 in one folder for each controller."""
MEMORY = "memory"
"""The controller that limits memory."""
NO_LIMIT = 1 << 62
"""Version 1 writes no limit as about the largest number of bytes that there is."""


@dataclass(frozen=True, kw_only=True)
class _Names:
    """What a group's files are called, which hold bytes."""

    limit: str
    used: str
    reclaimable: str
    """In `memory.stat`: what is used for files that lie on a disk as well, and is given up for others at once."""


FIRST = _Names(limit="memory.limit_in_bytes", used="memory.usage_in_bytes", reclaimable="total_inactive_file")
SECOND = _Names(limit="memory.max", used="memory.current", reclaimable="inactive_file")


def read_left() -> int | None:
    """Give the bytes that this process can still take before it meets a limit of its control group or one above.

    Returns:
        None where none of them has a limit, or nothing tells it.
    """
    left = [_read_group(folder, names) for folder, names in _list_groups()]
    return min((each for each in left if each is not None), default=None)


def _list_groups() -> Generator[tuple[Path, _Names]]:
    """List the folders of the process' own groups and of all above them."""
    try:
        lines = GROUPS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and MEMORY not in controllers.split(","):
            continue
        top, names = (SHOWN / MEMORY, FIRST) if controllers else (SHOWN, SECOND)
        # In a container the path may be that of the whole machine, of which only the container's own group is shown,
        # as the top.
        own = top / path.lstrip("/")
        yield own, names
        yield from ((each, names) for each in own.parents if each.is_relative_to(top))


def _read_group(folder: Path, names: _Names) -> int | None:
    limit, used = _read_number(folder / names.limit), _read_number(folder / names.used)
    if limit is None or used is None or limit >= NO_LIMIT:
        return None
    return max(0, limit - used + _read_reclaimable(folder, names))


def _read_number(path: Path) -> int | None:
    """Read a file with one number; None where it is not there, or says `max`."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _read_reclaimable(folder: Path, names: _Names) -> int:
    try:
        lines = (folder / "memory.stat").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    found = [line.split() for line in lines]
    return sum(int(words[1]) for words in found if len(words) == 2 and words[0] == names.reclaimable)
