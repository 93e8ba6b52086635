"""What `make` does where Python cannot make an environment."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# As Debian's python3 without python3-venv: it makes the folder, and ends with an error.
HALF_A_PYTHON = """#!/bin/sh
[ "$1" = -c ] && exit 0
mkdir -p "$3/bin" && touch "$3/bin/python"
exit 1
"""


@pytest.mark.skipif(sys.platform == "win32" or shutil.which("make") is None, reason="There is no make.")
@pytest.mark.parametrize("target", ["quickstart", "setup"])
def test_an_environment_that_could_not_be_made_is_removed(target: str, tmp_path: Path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / "half-a-python"
    python.write_text(HALF_A_PYTHON, encoding="utf-8")
    python.chmod(0o755)
    made = subprocess.run(
        ["make", target, f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert made.returncode != 0
    assert made.stderr.splitlines()[0] == (
        f"{python} could not make .venv: on Debian or Ubuntu, install python3-venv and give this command again."
    )
    assert not (tmp_path / ".venv").exists()


@pytest.mark.skipif(sys.platform == "win32" or shutil.which("make") is None, reason="There is no make.")
@pytest.mark.parametrize("failing", ["b c", "", "a"])
def test_a_measurement_that_fails_stops_no_other_and_is_told_at_the_end(failing: str, tmp_path: Path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "benchmarks").mkdir()
    for name in "abc":
        code = f"print('ran {name}'); raise SystemExit({int(name in failing.split())})"
        (tmp_path / "benchmarks" / f"{name}.py").write_text(code, encoding="utf-8")
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").symlink_to(sys.executable)
    for name in ("pip", "installed"):
        (tmp_path / ".venv" / name).touch()
    done = subprocess.run(["make", "bench"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert [line for line in done.stdout.splitlines() if line.startswith("ran")] == [
        "ran a",
        "ran b",
        "ran c",
    ]
    assert (done.returncode != 0) == bool(failing)
    told = " ".join(f"benchmarks/{name}.py" for name in failing.split())
    sentence = f"These ended with an error: {told}. Their messages stand above."
    assert done.stderr.splitlines()[:1] == ([sentence] if failing else [])
