"""How much memory the process holds while a graft is trained."""

from __future__ import annotations

import ctypes
import resource
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from polygraft.train.control_group import read_left

STATUS = Path("/proc/self/status")
"""Where Linux tells the resident size of this process (VmRSS) and the largest so far (VmHWM), in kB."""
FREE = Path("/proc/meminfo")
"""Where Linux tells how much memory a process can still take (MemAvailable), in kB."""
RESET = Path("/proc/self/clear_refs")
"""Where Linux takes the order to begin the largest anew."""
RESET_PEAK = "5"
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""What glibc's `mallopt` calls the bytes of free memory at which it gives some back, and those of a piece that it takes
from the system by itself, and gives back as soon as it is freed."""
USUAL = {MMAP_THRESHOLD: 32 * 1024**2, TRIM_THRESHOLD: 64 * 1024**2}
"""What glibc sets both to by itself in a process that has freed large pieces."""
KEPT = {MMAP_THRESHOLD: 1024**3, TRIM_THRESHOLD: 2**31 - 1}
"""What is wished for. Older versions of glibc refuse a piece of more than 32 MiB, the usual size."""
GRANTED = 1
"""What `mallopt` returns where a wish was granted, and 0 where it was not."""


class PeakMemory:
    """The largest resident size of this process since a moment, such as the start of a training.

    On Linux the system's own record is begun anew at that moment, so that nothing from before counts. Where that cannot
    be done, it is the largest since the process began. Several may be in use at once: each remembers what it has read.
    """

    def __init__(self) -> None:
        self.start = 0
        """Resident size at that moment, in bytes."""
        self.peak = 0

    def begin(self) -> None:
        """Count from now on."""
        begin_peak()
        # Where the system does not tell what is resident now, its largest so far stands for it.
        self.start = read_status("VmRSS") or read_peak()
        self.peak = self.start

    def read(self) -> int:
        """Give the largest resident size since the beginning, in bytes."""
        self.peak = max(self.peak, read_peak())
        return self.peak

    def measure(self) -> dict[str, float]:
        """Give what a manifest tells: the largest, and how much of it came on top of what was there at the start."""
        peak = self.read()
        return {
            "peak_memory_bytes": float(peak),
            "peak_memory_above_start_bytes": float(peak - self.start),
        }


def read_peak() -> int:
    """Give the largest resident size of this process that the system has on record, in bytes."""
    found = read_status("VmHWM")
    if found is not None:
        return found
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def read_status(key: str) -> int | None:
    """Give a size from Linux' record of this process in bytes, or None where there is no such record."""
    return _read_size(STATUS, key)


def read_free() -> int | None:
    """Give the bytes that this process can still take before the machine swaps, or before a limit ends it.

    Returns:
        The least of what the machine has and what each limit leaves; None where nothing tells either.
    """
    known = (_read_size(FREE, "MemAvailable"), read_left())
    return min((each for each in known if each is not None), default=None)


def _read_size(path: Path, key: str) -> int | None:
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    sizes = [line.split()[1] for line in lines if line.startswith(f"{key}:")]
    return int(sizes[0]) * 1024 if sizes else None


def begin_peak() -> None:
    """Let the system's record of the largest resident size begin anew, where it can."""
    try:
        with RESET.open("r+", encoding="ascii") as file:
            file.write(RESET_PEAK)
    except OSError:
        # No such system, or not allowed: the record goes on.
        return


def give_back_memory() -> None:
    """Let the system have what was freed: the C library keeps it for later, and it would count as in use till then."""
    # With another C library than glibc, what is measured then is a little less.
    _call_glibc("malloc_trim", 0)


@contextmanager
def keep_freed_memory() -> Generator[None]:
    """Let the process keep what it frees inside the block, and give it back afterwards.

    A step of training takes and frees the same large tensors as the one before. What the C library gives back to the
    system in between, the system fills with zeros, page by page, the next time. An older glibc keeps pieces
    below 32 MiB only, and with another C library nothing changes. Blocks may overlap, in one thread.
    """
    _holders.append(None)
    _set_thresholds(KEPT)
    try:
        yield
    finally:
        _holders.pop()
        if not _holders:
            _set_thresholds(USUAL)
            give_back_memory()


_holders: list[None] = []
"""The blocks that are open; what the C library does is one thing for the whole process."""


def keeps_freed_memory() -> bool:
    """Whether the C library keeps all that is freed where it is told so; it is told, to see it."""
    is_granted = _set_thresholds(KEPT)
    if not _holders:
        _set_thresholds(USUAL)
    return is_granted


def _set_thresholds(values: dict[int, int]) -> bool:
    """Set both thresholds, one that is refused to its usual value instead; say whether all was granted."""
    is_granted = True
    for name, value in values.items():
        if _call_glibc("mallopt", name, value) != GRANTED:
            is_granted = False
            # With one threshold set, glibc no longer raises the other by itself.
            _call_glibc("mallopt", name, USUAL[name])
    return is_granted


def _call_glibc(name: str, *arguments: int) -> object:
    """Call a function of the C library's for memory; None, and nothing happens, where it has none of that name."""
    function = _find_function(name)
    return None if function is None else function(*arguments)


def _find_function(name: str) -> Callable[..., object] | None:
    if sys.platform != "linux":
        return None
    try:
        return ctypes.CDLL(None)[name]
    except (AttributeError, OSError):
        return None
