"""A training process is killed at random moments, and nothing is lost."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.kills import run_killer


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither fork nor SIGKILL")
@pytest.mark.parametrize("objective", ["tokens", "mlm"])
def test_a_training_killed_at_random_moments_ends_with_the_same_bytes(objective: str, tmp_path: Path):
    kills = run_killer("tests.train.killer", objective, str(tmp_path), "25")
    assert sum(kills) >= 25
    whole = (tmp_path / "whole" / "final.safetensors").read_bytes()
    assert len(whole) > 1000
    for number in range(len(kills)):
        assert (tmp_path / f"run-{number}" / "final.safetensors").read_bytes() == whole
