"""A process that joins others and notes which threads it has then and at its very end."""

from __future__ import annotations

import atexit
import json
import sys
from pathlib import Path

import torch

from polygraft.train.processes import join_processes


def name_threads() -> list[str]:
    return [(task / "comm").read_text(encoding="utf-8").strip() for task in Path("/proc/self/task").iterdir()]


def main(folder: Path) -> None:
    noted: dict[str, list[str]] = {}
    place: list[Path] = []

    def note_the_end() -> None:
        noted["left"] = name_threads()
        place[0].write_text(json.dumps(noted), encoding="utf-8")

    # Asked for first, so that it is called last.
    atexit.register(note_the_end)
    processes = join_processes(torch.device("cpu"))
    place.append(folder / f"{processes.launch.index}.json")
    assert processes.add_up(1.0) == [2.0]
    noted["joined"] = name_threads()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
