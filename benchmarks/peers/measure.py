"""What one run measures of itself: time from step to step, and memory above the base's own."""

from __future__ import annotations

import ctypes
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from batches import IGNORE
from torch import nn
from works import Work, read_work

NUM_PIECES = 250_000
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the driver asks of one process."""

    work: Work
    side: str
    folder: Path
    """Where the work's own files are; the bases stand two folders further up, for all works and sizes."""
    threads: int

    @classmethod
    def read(cls) -> Job:
        """Take the job from the command line, and set the number of threads."""
        job = json.loads(sys.argv[1])
        work = read_work(job["work"])
        torch.set_num_threads(job["threads"])
        torch.manual_seed(work.seed)
        return cls(work=work, side=job["side"], folder=Path(job["folder"]), threads=job["threads"])

    @property
    def base(self) -> Path:
        """The folder of the base."""
        return self.folder.parent.parent / "bases" / self.work.base

    def split_side(self) -> tuple[str, int]:
        """Give the way and the number of plans that the side of a routed batch names."""
        way, _, count = self.side.rpartition("-")
        return way, int(count)

    def read_facts(self) -> dict[str, Any]:
        """Read what was written of the work's data and graft."""
        return json.loads((self.folder / "facts.json").read_text(encoding="utf-8"))


@dataclass
class Meter:
    """Reads the clock after every step, and the resident size before and after.

    Peak memory is Linux's own high-water mark, set back before training, less what the process took once the base was
    loaded and touched; so the interpreter, the libraries and the weights do not count.
    """

    warm: int
    base_bytes: int = 0
    ends: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    losses: list[float | None] = field(default_factory=list)

    def note_base(self, model: nn.Module) -> None:
        """Remember the resident size with all weights in memory."""
        with torch.no_grad():
            # Weights mapped from a file are in memory only once they were read.
            for weight in model.parameters():
                weight.sum()
        release_memory()
        self.base_bytes = read_status("VmRSS")

    def start(self) -> None:
        """Set the peak back, and start the clock."""
        release_memory()
        CLEAR.write_text("5")
        self.ends.append(time.perf_counter())

    def step(self, *, tokens: int, loss: float | None = None) -> None:
        """Note the end of a step; a Trainer does not say what its loss was."""
        self.ends.append(time.perf_counter())
        self.tokens.append(tokens)
        self.losses.append(loss)

    def read_peak(self) -> int:
        """Give the most bytes since the start above those of the base."""
        return read_status("VmHWM") - self.base_bytes

    def stop(self) -> dict[str, Any]:
        """Give what was measured; call it before anything else takes memory."""
        seconds = self.ends[-1] - self.ends[self.warm]
        tokens = sum(self.tokens[self.warm :])
        return {
            "rate": tokens / seconds,
            "seconds": seconds,
            "tokens": tokens,
            "num_steps": len(self.tokens),
            "memory": self.read_peak(),
            "base_memory": self.base_bytes,
            "first_losses": self.losses[:3],
        }


def release_memory() -> None:
    """Give free memory back to the system, so that it hides no later need."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def read_status(name: str) -> int:
    """Read a size from what Linux says of this process, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def sum_cross_entropy(scores: torch.Tensor, labels: torch.Tensor) -> tuple[float, int]:
    """Give the summed cross entropy at labelled tokens, in nats, and how many there are."""
    places = labels != IGNORE
    total = nn.functional.cross_entropy(scores[places].float(), labels[places], reduction="sum")
    return float(total), int(places.sum())


def divide(pairs: Sequence[tuple[float, int]]) -> float:
    """Give the mean of summed losses."""
    return sum(total for total, _ in pairs) / sum(count for _, count in pairs)


def draw_rows(work: Work) -> tuple[torch.Tensor, torch.Tensor]:
    """Give rows of random pieces without padding, and their attention mask: [B, T]."""
    generator = torch.Generator().manual_seed(work.seed)
    input_ids = torch.randint(5, NUM_PIECES, (work.num_rows, work.length), generator=generator)
    return input_ids, torch.ones_like(input_ids)


def time_passes(work: Work, run: Callable[[], object]) -> dict[str, Any]:
    """Run a batch again and again, and give the median of tokens a second, and each."""
    assert work.steps is not None
    rates: list[float] = []
    for _ in range(work.warm + work.steps):
        start = time.perf_counter()
        run()
        rates.append(work.num_rows * work.length / (time.perf_counter() - start))
    return {"rate": statistics.median(rates[work.warm :]), "rates": rates[work.warm :]}


def report(result: dict[str, Any]) -> None:
    """Print the one line that the driver reads."""
    print(json.dumps(result))
