"""Processes that make a graft in several phases are killed at random moments, and nothing is lost."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.kills import run_killer
from tests.recipe.by_method import read_bytes
from tests.recipe.material import write_all


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither fork nor SIGKILL")
@pytest.mark.parametrize(("kind", "num_grafts"), [("lt-sft", 1), ("imp", 2)])
def test_an_order_killed_at_random_moments_ends_with_the_same_bytes(
    kind: str, num_grafts: int, tmp_path: Path
):
    (tmp_path / "made").mkdir()
    (tmp_path / "runs").mkdir()
    write_all(tmp_path / "made")
    words = (kind, str(tmp_path / "made" / "data"), str(tmp_path / "runs"), "8")
    kills = run_killer("tests.recipe.killer", *words)
    assert sum(kills) >= 8
    whole = read_bytes(str(tmp_path / "runs" / "whole" / "store"))
    assert len(whole) == num_grafts
    for number in range(len(kills)):
        assert read_bytes(str(tmp_path / "runs" / f"run-{number}" / "store")) == whole
