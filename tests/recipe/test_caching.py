"""How a user says where the output of frozen layers is kept."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from polygraft.errors import OptionError
from polygraft.recipe.caching import check_cache, open_cache
from polygraft.recipe.train_tables import TaskSettings
from polygraft.train.prefix import PrefixCache


def test_nothing_is_kept_where_nothing_is_wanted(tmp_path: Path):
    assert open_cache("off", gib=1, folder=tmp_path) is None
    assert open_cache("exact", gib=1, folder=tmp_path, has_dropout=True) is None


def test_gigabytes_become_bytes(tmp_path: Path):
    exact, half = (open_cache(kind, gib=0.5, folder=tmp_path) for kind in ("exact", "half"))
    assert exact is not None
    assert half is not None
    assert (exact.memory, exact.half, half.half) == (2**29, False, True)
    assert TaskSettings().cache_gib * 2**30 == PrefixCache().memory


@pytest.mark.parametrize(("words", "share"), [({"LOCAL_WORLD_SIZE": "4"}, 4), ({}, 8)])
def test_processes_of_a_machine_share_the_memory(
    words: dict[str, str], share: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    for name, value in {"WORLD_SIZE": "8", "RANK": "5", **words}.items():
        monkeypatch.setenv(name, value)
    cache = open_cache("exact", gib=0.5, folder=tmp_path)
    assert cache is not None
    assert cache.memory == 2**29 // share


def test_who_asked_for_rounded_blocks_with_dropout_gets_a_cache_and_is_told_by_the_training(tmp_path: Path):
    cache = open_cache("half", gib=0.5, folder=tmp_path, has_dropout=True)
    assert cache is not None
    assert cache.half


@pytest.mark.parametrize(
    ("kind", "gib", "sentence"),
    [
        ("hlaf", 1, "The cache is 'hlaf'. Expected exact, half, off. Did you mean 'half'? Correct the word."),
        (
            "exact",
            -1,
            "The cache has -1 gigabytes of memory. Expected 0 or more. Give another number; 0 keeps all of it in "
            "files.",
        ),
        (
            "exact",
            math.inf,
            "The cache has inf gigabytes of memory. Expected 0 or more. Give another number; 0 keeps all of it in "
            "files.",
        ),
    ],
)
def test_what_cannot_be_meant_is_said(kind: str, gib: float, sentence: str):
    with pytest.raises(OptionError) as caught:
        check_cache(kind, gib=gib)
    assert str(caught.value) == sentence
