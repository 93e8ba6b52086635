"""What each of two processes does in `test_processes.py`; `torchrun` starts it twice."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from tests.tiny import make_base
from tests.train.material import make_masked_lm, make_training

from polygraft.errors import TrainError
from polygraft.settings import load_launch
from polygraft.train.checkpoint import Checkpoints
from polygraft.train.loop import Interrupted, Training

PATHS: Mapping[str, Mapping[str, Any]] = {
    "mlm": {},
    "negatives": {},
    "tokens": {"evaluate_every": 2, "patience": 3},
    "uneven": {"steps": None, "epochs": 2, "batch_tokens": 48},
    "bfloat16": {"precision": "bfloat16", "recompute": True},
    "dropout": {"dropout": True, "recompute": True},
    "one batch": {"steps": None, "epochs": 1, "batch_tokens": 4096},
}
SCORES = [0.1, 0.5, 0.4, 0.3, 0.2]


def make(path: str, **changes: Any) -> Training:
    """A training of one of the paths; that of `tokens` has its best score after step 4."""
    name, base = "mlm" if path in {"mlm", "negatives"} else "tokens", make_base("bert")
    given = {"objective": make_masked_lm(base, negatives=1)} if path == "negatives" else {}
    training = make_training(name, base=base, **{**PATHS[path], **given, **changes})
    if path == "tokens":
        scores = iter(SCORES)
        training.evaluate = lambda attachment: next(scores)
    return training


def follow(training: Training, folder: Path, name: str) -> None:
    """Run a training and write what this process saw of it."""
    facts: dict[str, Any] = {"error": None}
    steps = []
    try:
        steps.extend([step.loss, step.num_tokens, step.held_out, step.is_best] for step in training.run())
    except (Interrupted, TrainError) as error:
        facts["error"] = str(error)
    facts["steps"] = steps
    save_file(dict(training.graft.tensors()), folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(facts), encoding="utf-8")


def main(folder: Path) -> None:
    index = load_launch().index
    mine = folder / str(index)
    mine.mkdir()
    for path in PATHS:
        follow(make(path), mine, path)
    # The second process alone is asked to stop; the checkpoint is of both, and both go on from it.
    checkpoints = Checkpoints(folder / "shared", key="k")
    stopped = make("mlm", checkpoints=checkpoints)
    stopped.should_stop = lambda: index == 1 and stopped.progress.step == 6
    follow(stopped, mine, "stopped")
    follow(make("mlm", checkpoints=checkpoints), mine, "resumed")
    # A folder of its own for each: the second finds no checkpoint.
    apart = Checkpoints(folder / ("shared" if index == 0 else "apart"), key="k")
    follow(make("mlm", checkpoints=apart), mine, "apart")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
