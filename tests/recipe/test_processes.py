"""A recipe in two processes: both train, the first one writes and prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.recipe.material import write_all

from polygraft.store.store import Store

ROOT = Path(__file__).parents[2]
LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "polygraft")


def run_in_two(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, *LAUNCHER, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )


@pytest.mark.slow
def test_two_processes_run_a_recipe_once_and_skip_it_the_next_time(tmp_path: Path):
    write_all(tmp_path)
    words = ("run", "recipe.toml", "--set", "base=bare", "--log-json", "log.jsonl")
    first = run_in_two(tmp_path, *words)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("report.html") == 1
    assert first.stderr.count("The base is unchanged, bit for bit.") == 1
    store = Store(tmp_path / "store")
    assert {name: store.latest(name) for name in store.names()} == dict.fromkeys(
        ("en", "mlm", "ner", "ner-alone", "qu"), 1
    )
    manifest, _ = store.get("ner")
    assert manifest.hyperparameters["processes"] == 2
    assert (tmp_path / "log.jsonl").read_text(encoding="utf-8").count('"RunFinished"') == 1
    again = run_in_two(tmp_path, *words)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("done by an earlier run") == 6
    assert store.latest("ner") == 1


@pytest.mark.slow
def test_two_processes_prune_once_and_clear_up_once(tmp_path: Path):
    write_all(tmp_path)
    data = ("--name", "new", "--train", "data/train.conll", "--dev", "data/dev.conll", "--base", "base")
    method = ("imp", "--sparsities", "0.5,0.8", "--rewind", "2", "--steps", "4", "--batch-tokens", "64")
    words = ("prune", *method, *data, "--store", "store")
    first = run_in_two(tmp_path, *words)
    assert first.returncode == 0, first.stderr
    store = Store(tmp_path / "store")
    assert {name: store.latest(name) for name in store.names()} == {"new-s50": 1, "new": 1}
    assert store.get("new")[0].hyperparameters["processes"] == 2
    assert not list((tmp_path / "store" / ".checkpoints").glob("new*"))
    again = run_in_two(tmp_path, *words)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("This very graft was made before: it is version 1 of 'new'.") == 1
