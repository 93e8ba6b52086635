"""Two processes train as one with twice the batches an update; the first writes for both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.train.material import run
from tests.train.pair import PATHS, make

from polygraft.settings import Launch
from polygraft.train.processes import OneProcess, join_processes

ROOT = Path(__file__).parents[2]


def launch(folder: Path, module: str, *words: str, count: int = 2) -> subprocess.CompletedProcess[str]:
    """Start a module in several processes, as a user does."""
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
    return subprocess.run(
        [*launcher, "-m", module, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    done = launch(ROOT, "tests.train.pair", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


def read(folder: Path, index: int, name: str) -> dict[str, Any]:
    return json.loads((folder / str(index) / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_two_processes_end_as_one_with_twice_the_batches(folder: Path, path: str):
    alone = make(path, accumulate=2)
    steps = run(alone)
    both = [read(folder, index, path)["steps"] for index in (0, 1)]
    assert both[0] == both[1]
    assert len(both[0]) == len(steps)
    for (loss, num_tokens, held_out, is_best), step in zip(both[0], steps, strict=True):
        assert loss == pytest.approx(step.loss, abs=1e-3 if path == "bfloat16" else 1e-6)
        assert (num_tokens, held_out, is_best) == (step.num_tokens, step.held_out, step.is_best)
    values = [load_file(folder / str(index) / f"{path}.safetensors") for index in (0, 1)]
    for name, value in alone.graft.tensors().items():
        assert torch.equal(values[0][name], values[1][name])
        assert torch.allclose(values[0][name], value, atol=1e-3 if path == "bfloat16" else 1e-6), name


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux lists a process' threads there")
def test_no_thread_of_the_group_is_left_when_the_interpreter_ends(tmp_path: Path):
    done = launch(ROOT, "tests.train.leaving", str(tmp_path))
    assert done.returncode == 0, done.stderr
    for index in (0, 1):
        threads = json.loads((tmp_path / f"{index}.json").read_text(encoding="utf-8"))
        assert any("gloo" in name for name in threads["joined"])
        assert not [name for name in threads["left"] if "gloo" in name]


@pytest.mark.slow
def test_a_stop_asked_of_one_stops_both_and_both_go_on(folder: Path):
    for index in (0, 1):
        stopped, resumed = read(folder, index, "stopped"), read(folder, index, "resumed")
        assert stopped["error"] == (
            "Training of 'new' was stopped after step 6 of 10, and all of it is saved. Give the same command again to "
            "go on."
        )
        assert stopped["steps"] + resumed["steps"] == read(folder, index, "mlm")["steps"]
        whole = (folder / str(index) / "mlm.safetensors").read_bytes()
        assert (folder / str(index) / "resumed.safetensors").read_bytes() == whole


@pytest.mark.slow
def test_processes_that_read_other_checkpoints_are_refused(folder: Path):
    sentence = (
        "One of the 2 processes that train 'new' is at step {own}, and they are not all at the same one. Expected all "
        "to go on from one checkpoint. Give them a store and a folder of runs that all of them can read."
    )
    assert read(folder, 0, "apart")["error"] == sentence.format(own=6)
    assert read(folder, 1, "apart")["error"] == sentence.format(own=0)


def test_without_a_launcher_a_process_is_alone(monkeypatch: pytest.MonkeyPatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    processes = join_processes(torch.device("cpu"))
    assert isinstance(processes, OneProcess)
    assert processes.share(["a", "b"]) == [(0, "a"), (1, "b")]
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(("index", "mine"), [(0, [(0, "a"), (2, "c")]), (1, [(1, "b")])])
def test_batches_are_dealt_in_turn(monkeypatch: pytest.MonkeyPatch, index: int, mine: Any):
    processes = OneProcess()
    monkeypatch.setattr(processes, "launch", Launch(index=index, count=2))
    assert processes.share("abc") == mine
