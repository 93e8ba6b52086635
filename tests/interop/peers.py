"""The peers' own environment, in which other libraries run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PYTHON = Path(os.environ.get("POLYGRAFT_PEERS_PYTHON", ROOT / ".venv-peers" / "bin" / "python"))


def run_peer(script: str, task: str, folder: Path) -> None:
    """Run a script of this folder there, or skip the test where it is not installed."""
    if not PYTHON.is_file():
        pytest.skip("The peers' environment is not installed: `make .venv-peers/installed` makes it.")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(PYTHON), str(Path(__file__).parent / script), task, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
        env={**environment, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
