"""A training process is killed at random moments, and nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither fork nor SIGKILL")
def test_a_training_killed_at_random_moments_ends_with_the_same_bytes(tmp_path: Path):
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "tests.train.killer", str(tmp_path), "25"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kills = json.loads(done.stdout)
    assert sum(kills) >= 25
    whole = (tmp_path / "whole" / "final.safetensors").read_bytes()
    assert len(whole) > 1000
    for number in range(len(kills)):
        assert (tmp_path / f"run-{number}" / "final.safetensors").read_bytes() == whole
