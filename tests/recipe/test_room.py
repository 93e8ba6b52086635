"""What does not fit is told."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from polygraft.recipe.events import PlannedStep
from polygraft.recipe.room import check_disk, check_memory

MB = 1_000_000


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def make_step(name: str, above: int | None) -> PlannedStep:
    return PlannedStep(
        name=name, kind="task", description="", digest="", is_done=above is None, above_bytes=above
    )


def test_memory_that_is_not_there_is_told():
    steps = [make_step("language.en", 300 * MB), make_step("task.ner", 900 * MB), make_step("task.pos", None)]
    assert check_memory(steps, free=900 * MB) == []
    assert check_memory(steps, free=None) == []
    assert check_memory(steps[2:], free=0) == []
    assert check_memory(steps, free=500 * MB) == [
        "The step 'task.ner' is expected to need 900 MB of memory beside the loaded base, and 500 MB are free. "
        "Expected no more than that, or the system may end the run. Give smaller batches (batch_tokens), train with "
        "recompute = true, choose another method, or close other programs."
    ]
    [sentence] = check_memory(steps, free=200 * MB)
    assert "and 200 MB are free (1 other step needs more than that, too). Expected" in sentence


def test_room_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 500 * MB))
    store, runs = tmp_path / "store", tmp_path / "runs" / "new"
    assert check_disk([(store, 200 * MB), (runs, 300 * MB)]) == []
    assert check_disk([(store, 200 * MB), (runs, 301 * MB)]) == [
        f"The run is expected to need 501 MB on the disk of {store} and {runs}, and 500 MB are free there. Expected no "
        "more than that. Make room, or name folders on another disk (`store` and `runs`)."
    ]
    assert not store.exists()
