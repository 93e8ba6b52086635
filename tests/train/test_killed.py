"""A training process is killed at random moments, and nothing is lost."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from safetensors import safe_open
from tests.kills import run_killer


def num_steps_in(folder: Path) -> int:
    """The number of the last step of the first training."""
    with safe_open(folder / "final.safetensors", "pt") as file:
        return int(json.loads(file.metadata()["curves"])[0][-1]["step"])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither fork nor SIGKILL")
@pytest.mark.parametrize(("case", "least"), [("tokens", 20), ("mlm", 20), ("patience", 4), ("together", 4)])
def test_a_training_killed_at_random_moments_ends_with_the_same_bytes(case: str, least: int, tmp_path: Path):
    kills = run_killer("tests.train.killer", case, str(tmp_path), str(least))
    assert max(kills) >= least
    whole = (tmp_path / "whole" / "final.safetensors").read_bytes()
    assert len(whole) > 1000
    if case == "patience":
        assert 7 < num_steps_in(tmp_path / "whole") < 20
    for number in range(len(kills)):
        assert (tmp_path / f"run-{number}" / "final.safetensors").read_bytes() == whole
