"""What no running training uses makes room for what one does, and the numbers stay the same to the bit."""

from __future__ import annotations

import mmap
import weakref
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tests.tiny import make_base
from tests.train.material import encode_sentences, read_bytes, run
from tests.train.test_prefix import train
from tests.train.test_together import make

from polygraft.train import spill
from polygraft.train.labels import Labelling
from polygraft.train.prefix import PrefixCache
from polygraft.train.together import run_together

NOWHERE = Path("/dev/null/none")
"""A folder that cannot be."""
SIZE = 128
"""Values of a block: 512 bytes."""


def find_computed(cache: PrefixCache, keys: Sequence[int]) -> list[int]:
    """Ask for blocks, and give the keys of those that were computed for it."""
    computed: list[int] = []

    def compute(key: int) -> torch.Tensor:
        computed.append(key)
        return torch.full((SIZE,), float(key))

    for key in keys:
        found = cache.fetch(key, lambda key=key: compute(key))
        assert found.tolist() == [float(key)] * SIZE
    return computed


@pytest.mark.parametrize("skipped", ["none", "two", "head"])
def test_a_later_training_has_the_room_that_the_first_one_had(skipped: str):
    whole = PrefixCache()
    first, _ = train(whole, skipped=skipped)
    cache = PrefixCache(memory=whole.bytes_in_memory, folder=NOWHERE)
    # Each stands on a base of its own, so that nothing of one is of use to another.
    later = [train(cache, skipped=skipped)[0] for _ in range(3)]
    assert [training.measure_cost()["looked_up"] for training in later] == [
        first.measure_cost()["looked_up"]
    ] * 3
    assert first.measure_cost()["looked_up"] > 0
    assert cache.bytes_in_memory == whole.bytes_in_memory
    assert read_bytes(later[-1].graft) == read_bytes(first.graft)


def test_what_was_asked_for_longest_ago_goes_first_and_nothing_in_use():
    cache = PrefixCache(memory=3 * 4 * SIZE, folder=NOWHERE)
    with cache.serve():
        assert find_computed(cache, [0, 1, 2]) == [0, 1, 2]
        # All of it is in use, so that what comes later finds no room.
        assert find_computed(cache, [3, 4, 0, 3, 1, 2]) == [3, 4, 3]
    with cache.serve():
        assert find_computed(cache, [0]) == []
        assert find_computed(cache, [5, 0, 5]) == [5]
        # The oldest made room for it; the one asked for after it is still there.
        assert find_computed(cache, [2, 1]) == [1]
        assert find_computed(cache, [0, 5, 2, 1]) == [1]
    assert cache.bytes_in_memory == 3 * 4 * SIZE


def test_what_another_running_training_uses_stays_until_it_ends():
    cache = PrefixCache(memory=2 * 4 * SIZE, folder=NOWHERE)
    first, second = cache.serve(), cache.serve()
    with first:
        find_computed(cache, [0, 1])
        with second:
            assert find_computed(cache, [2, 0, 1]) == [2]
    third = cache.serve()
    with third:
        with cache.serve():
            find_computed(cache, [0])
        # What was asked for since the third began stays, also if one that began later asked for it.
        assert find_computed(cache, [2, 0, 2]) == [2]
        assert find_computed(cache, [1]) == [1]


def test_one_that_begins_while_another_runs_keeps_its_own_when_that_one_has_ended():
    cache = PrefixCache(memory=2 * 4 * SIZE, folder=NOWHERE)
    running = [cache.serve(), cache.serve()]
    running[0].__enter__()
    find_computed(cache, [0, 1])
    running[1].__enter__()
    find_computed(cache, [1])
    running[0].__exit__(None, None, None)
    assert find_computed(cache, [2, 1, 2, 0]) == [2, 0]
    running[1].__exit__(None, None, None)


def test_pairs_make_room_for_blocks_and_blocks_for_pairs():
    cache = PrefixCache(memory=2 * 4 * SIZE, folder=NOWHERE)
    block = torch.ones(SIZE)
    with cache.serve():
        assert cache.fetch_pair("a", lambda: (block, block), num_bytes=2 * 4 * SIZE) is not None
    with cache.serve():
        find_computed(cache, [0, 1])
        assert cache.fetch_pair("a", lambda: (block, block), num_bytes=2 * 4 * SIZE) is None
        assert find_computed(cache, [0, 1, 0]) == []
    with cache.serve():
        # Nothing goes for what would find no room all the same.
        assert cache.fetch_pair("a", lambda: (block, block), num_bytes=3 * 4 * SIZE) is None
        assert find_computed(cache, [0]) == []
    with cache.serve():
        assert cache.fetch_pair("a", lambda: (block, block), num_bytes=2 * 4 * SIZE) is not None
    assert cache.bytes_in_memory == 2 * 4 * SIZE


def limit_files(
    cache: PrefixCache, monkeypatch: pytest.MonkeyPatch, *, most: int
) -> list[weakref.ref[mmap.mmap]]:
    """Let the disk have room for so many files; gives those that were opened."""
    opened: list[weakref.ref[mmap.mmap]] = []
    usual = cache._files._open

    def open_one(size: int) -> mmap.mmap | None:
        if sum(file() is not None for file in opened) == most:
            return None
        file = usual(size)
        assert file is not None
        opened.append(weakref.ref(file))
        return file

    monkeypatch.setattr(spill, "FILE_BYTES", 2 * 4 * SIZE)
    monkeypatch.setattr(cache._files, "_open", open_one)
    return opened


def test_a_file_goes_when_nothing_in_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cache = PrefixCache(memory=0, folder=tmp_path)
    opened = limit_files(cache, monkeypatch, most=2)
    with cache.serve():
        # Two in each file, and then there is no room.
        assert find_computed(cache, [0, 1, 2, 3, 4, 3, 4]) == [0, 1, 2, 3, 4, 4]
        assert cache.bytes_in_files == 4 * 4 * SIZE
    with cache.serve():
        assert find_computed(cache, [3]) == []
        assert find_computed(cache, [5, 6, 5, 6]) == [5, 6]
        assert [file() is not None for file in opened] == [False, True, True]
        assert cache.bytes_in_files == 4 * 4 * SIZE
        # The file of what is in use stays, and another cannot be.
        assert find_computed(cache, [7, 3, 7]) == [7, 7]
        assert cache.bytes_in_files == 3 * 4 * SIZE
    assert cache.bytes_in_memory == 0


@pytest.mark.parametrize("memory", [8_000, 40_000])
def test_trainings_that_begin_and_end_at_other_times_have_the_bits_that_each_has_alone(memory: int):
    base = make_base("bert")
    alone = [make(base, Labelling(encode_sentences(base)), seed, epochs=seed) for seed in (1, 2, 3)]
    for training in alone:
        run(training)
    cache = PrefixCache(memory=memory, folder=NOWHERE)
    shared = Labelling(encode_sentences(base), cache=cache)
    for _ in range(2):
        together = [make(base, shared, seed, epochs=seed) for seed in (1, 2, 3)]
        for _ in run_together(together):
            assert cache.bytes_in_memory <= memory
        assert [read_bytes(training.graft) for training in together] == [
            read_bytes(training.graft) for training in alone
        ]
    assert cache.num_found > 0
