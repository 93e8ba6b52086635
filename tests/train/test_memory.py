"""Peak memory is that of a training, and not of what came before it."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.train.material import make_training, run

from polygraft.train import control_group, memory
from polygraft.train.loop import Interrupted
from polygraft.train.memory import PeakMemory
from polygraft.train.together import run_together

MB = 1_000_000


def take(num_bytes: int) -> None:
    """Hold so much memory for a moment; blocks of this size go back to the system at once."""
    np.ones(num_bytes, dtype=np.uint8).sum()


def can_begin_anew() -> bool:
    try:
        memory.RESET.write_text(memory.RESET_PEAK)
    except OSError:
        return False
    return memory.read_status("VmHWM") is not None


needs_linux = pytest.mark.skipif(
    not can_begin_anew(), reason="The system keeps one record for a whole process."
)


@needs_linux
def test_what_came_before_does_not_count():
    take(400 * MB)
    peak = PeakMemory()
    peak.begin()
    take(100 * MB)
    found = peak.measure()
    assert found["peak_memory_bytes"] == peak.read() == peak.start + found["peak_memory_above_start_bytes"]
    assert 95 * MB < found["peak_memory_above_start_bytes"] < 200 * MB


@needs_linux
def test_what_one_has_read_stays_when_another_begins():
    first, second = PeakMemory(), PeakMemory()
    first.begin()
    take(300 * MB)
    before = first.read()
    second.begin()
    take(100 * MB)
    assert first.read() == before
    assert second.read() < before - 100 * MB


@needs_linux
def test_a_later_training_does_not_show_the_peak_of_an_earlier_one():
    first, second = make_training(steps=1), make_training(steps=2)
    run(first)
    first.memory.begin()
    take(400 * MB)
    large = first.measure_cost()["peak_memory_bytes"]
    steps = run(second)
    cost = second.measure_cost()
    assert cost["peak_memory_bytes"] < large - 200 * MB
    assert steps[-1].peak_memory_bytes <= cost["peak_memory_bytes"]
    assert 0 <= cost["peak_memory_above_start_bytes"] < 200 * MB


def test_elsewhere_it_is_the_largest_since_the_process_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    monkeypatch.setattr(memory, "RESET", tmp_path / "none")
    peak = PeakMemory()
    peak.begin()
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    assert peak.read() == peak.start == largest
    assert not list(tmp_path.iterdir())


def test_a_system_that_tells_no_peak_is_asked_for_the_largest_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "status").write_text("Name:\tpython\nVmRSS:\t   12 kB\n")
    monkeypatch.setattr(memory, "STATUS", tmp_path / "status")
    monkeypatch.setattr(memory, "RESET", tmp_path / "none")
    peak = PeakMemory()
    peak.begin()
    assert peak.start == 12 * 1024
    assert peak.read() >= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@needs_linux
def test_what_is_free_is_told_by_the_system():
    free = memory.read_free()
    assert free is not None
    assert 0 < free < 1 << 50


def test_where_nothing_tells_what_is_free_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "FREE", tmp_path / "none")
    monkeypatch.setattr(control_group, "GROUPS", tmp_path / "none at all")
    assert memory.read_free() is None
    (tmp_path / "none").write_text("MemTotal: 9 kB\nMemAvailable:    7 kB\n", encoding="ascii")
    assert memory.read_free() == 7 * 1024


@needs_linux
def test_what_was_freed_is_given_back():
    before = memory.read_status("VmRSS") or 0
    small = [bytearray(2_000) for _ in range(50_000)]
    last = bytearray(2_000)
    del small
    memory.give_back_memory()
    assert (memory.read_status("VmRSS") or 0) - before < 20 * MB
    assert len(last) == 2_000


@pytest.mark.skipif(not memory.keeps_freed_memory(), reason="This C library keeps what it likes.")
def test_what_a_training_frees_stays_until_its_end():
    def count_new_pages(size: int = 50 * MB) -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        # Not by NumPy, which asks the system for larger pages.
        torch.ones(size, dtype=torch.uint8)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    steps = make_training("mlm", steps=3).run()
    next(steps)
    # An aligned piece is sought among those that are a little larger: glibc 2.36 does not see that one of the very same
    # size, with something right behind it, would do.
    count_new_pages(60 * MB)
    kept = count_new_pages()
    before_end = memory.read_status("VmRSS") or 0
    list(steps)
    assert kept < 1_000
    assert count_new_pages() > 10_000
    assert (memory.read_status("VmRSS") or 0) < before_end - 40 * MB


@pytest.mark.skipif(not memory.keeps_freed_memory(), reason="This C library keeps what it likes.")
def test_it_is_kept_until_the_last_of_several_ends_or_is_stopped():
    stop = [False]
    trainings = [make_training("mlm", steps=3, should_stop=lambda: stop[0]) for _ in range(2)]
    steps = run_together(trainings)
    next(steps)
    assert len(memory._holders) == 1
    next(steps)
    assert len(memory._holders) == 2
    stop[0] = True
    with pytest.raises(Interrupted):
        list(steps)
    assert memory._holders == []
    run(make_training("mlm", steps=1))
    assert memory._holders == []


class Mallopt:
    """A C library's `mallopt` that refuses a piece larger than a limit, as older versions of glibc do."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.values: dict[int, int] = {}

    def __call__(self, name: int, value: int) -> int:
        if name == memory.MMAP_THRESHOLD and value > self.limit:
            return 0
        self.values[name] = value
        return 1


def use(mallopt: Mallopt | None, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {} if mallopt is None else {"mallopt": mallopt, "malloc_trim": lambda size: 1}
    monkeypatch.setattr(memory, "_find_function", found.get)
    monkeypatch.setattr(memory, "_holders", [])


@pytest.mark.parametrize(("limit", "largest"), [(1 << 31, 1 << 30), (32 << 20, 32 << 20)])
def test_a_wish_that_is_refused_gives_way_to_the_largest_that_is_not(
    limit: int, largest: int, monkeypatch: pytest.MonkeyPatch
):
    mallopt = Mallopt(limit)
    use(mallopt, monkeypatch)
    with memory.keep_freed_memory():
        assert mallopt.values == {memory.MMAP_THRESHOLD: largest, memory.TRIM_THRESHOLD: 2**31 - 1}
    assert mallopt.values == memory.USUAL


@pytest.mark.parametrize(("limit", "is_kept"), [(1 << 31, True), (32 << 20, False), (None, False)])
def test_all_is_kept_where_the_wish_is_granted(
    limit: int | None, is_kept: bool, monkeypatch: pytest.MonkeyPatch
):
    mallopt = None if limit is None else Mallopt(limit)
    use(mallopt, monkeypatch)
    assert memory.keeps_freed_memory() is is_kept
    if mallopt is not None:
        assert mallopt.values == memory.USUAL
        with memory.keep_freed_memory():
            before = dict(mallopt.values)
            assert memory.keeps_freed_memory() is is_kept
            assert mallopt.values == before != memory.USUAL
