"""How a user says where the output of frozen layers is kept."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from polygraft.errors import OptionError
from polygraft.recipe.caching import CACHE_GIB, check_cache, open_cache
from polygraft.recipe.train_tables import TaskSettings


def test_nothing_is_kept_where_nothing_is_wanted(tmp_path: Path):
    assert open_cache("off", gib=1, folder=tmp_path) is None


def test_gigabytes_become_bytes(tmp_path: Path):
    exact, half = (open_cache(kind, gib=0.5, folder=tmp_path) for kind in ("exact", "half"))
    assert exact is not None
    assert half is not None
    assert (exact.memory, exact.half, half.half) == (2**29, False, True)
    assert TaskSettings().cache_gib == CACHE_GIB


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
