"""The limits of control groups, read from made-up folders as Linux shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from polygraft.train import control_group, memory

MB = 1 << 20
NONE = 9223372036854771712
"""What version 1 writes where there is no limit."""


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all groups; which ones the process is in, `belong` says."""
    monkeypatch.setattr(control_group, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(control_group, "SHOWN", tmp_path / "shown")
    monkeypatch.setattr(memory, "FREE", tmp_path / "meminfo")
    return tmp_path / "shown"


def belong(shown: Path, *lines: str) -> None:
    (shown.parent / "groups").write_text("".join(f"{line}\n" for line in lines))


def write_second(folder: Path, limit: int | str, used: int, inactive: int = 0) -> None:
    """A group of version 2."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(
        f"anon {used}\nactive_file {3 * inactive}\ninactive_file {inactive}\n"
    )


def write_first(folder: Path, limit: int, used: int, inactive: int = 0) -> None:
    """A group of version 1; its own files count without those of the groups below."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"cache 1\ninactive_file 1\ntotal_inactive_file {inactive}\n")


def test_what_is_left_counts_files_that_the_system_gives_up(shown: Path):
    belong(shown, "0::/job.slice")
    write_second(shown / "job.slice", limit=500 * MB, used=300 * MB, inactive=40 * MB)
    assert control_group.read_left() == 240 * MB


@pytest.mark.parametrize(("outer", "left"), [(900, 100), (350, 50), (250, 0)])
def test_a_group_above_may_leave_less_and_none_leaves_less_than_nothing(shown: Path, outer: int, left: int):
    belong(shown, "0::/all/mine/own")
    write_second(shown / "all" / "mine" / "own", limit="max", used=100 * MB)
    write_second(shown / "all" / "mine", limit=300 * MB, used=200 * MB)
    write_second(shown / "all", limit=outer * MB, used=300 * MB)
    # Another one at its side does not count.
    write_second(shown / "other", limit=1, used=1)
    assert control_group.read_left() == left * MB


def test_version_1_has_a_folder_for_memory(shown: Path):
    belong(shown, "9:name=systemd:/x", "4:cpu,memory:/slurm/job_7", "3:cpuset:/slurm", "0::/x")
    write_first(shown / "memory" / "slurm" / "job_7", limit=700 * MB, used=200 * MB, inactive=50 * MB)
    write_first(shown / "memory" / "slurm", limit=NONE, used=900 * MB)
    write_first(shown / "memory", limit=NONE, used=900 * MB)
    write_first(shown / "cpuset" / "slurm", limit=1, used=1)
    assert control_group.read_left() == 550 * MB


@pytest.mark.parametrize("path", ["/", "/docker/9f31", "/../../docker/9f31"])
def test_in_a_container_its_own_group_is_shown_as_the_top(shown: Path, path: str):
    belong(shown, f"4:memory:{path}")
    write_first(shown / "memory", limit=100 * MB, used=30 * MB)
    assert control_group.read_left() == 70 * MB
    belong(shown, f"0::{path}")
    write_second(shown, limit=90 * MB, used=30 * MB)
    assert control_group.read_left() == 60 * MB


def test_without_a_limit_nothing_is_told(shown: Path):
    assert control_group.read_left() is None
    belong(shown, "0::/a", "4:memory:/a")
    assert control_group.read_left() is None
    write_second(shown / "a", limit="max", used=1)
    write_first(shown / "memory" / "a", limit=NONE, used=1)
    assert control_group.read_left() is None
    write_second(shown / "a", limit=5 * MB, used=1)
    (shown / "a" / "memory.current").unlink()
    assert control_group.read_left() is None


def test_a_group_that_does_not_tell_of_files_counts_them_as_used(shown: Path):
    belong(shown, "0::/a")
    write_second(shown / "a", limit=5 * MB, used=2 * MB, inactive=MB)
    (shown / "a" / "memory.stat").unlink()
    assert control_group.read_left() == 3 * MB


@pytest.mark.parametrize(("available", "free"), [(900, 240), (100, 100), (None, 240)])
def test_free_is_the_least_of_the_machine_and_the_limit(shown: Path, available: int | None, free: int):
    belong(shown, "0::/a")
    write_second(shown / "a", limit=500 * MB, used=300 * MB, inactive=40 * MB)
    if available is not None:
        (shown.parent / "meminfo").write_text(f"MemAvailable: {available * 1024} kB\n")
    assert memory.read_free() == free * MB
