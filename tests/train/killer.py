"""Trains in child processes that it kills at random moments; `test_killed.py` starts it as a program.

It forks instead of starting Python anew, so that two dozen deaths take seconds: the children are processes of their
own all the same, and SIGKILL leaves them no time to put anything in order.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from safetensors.torch import save
from tests.train.material import make_training

from polygraft.train.checkpoint import Checkpoints

FINAL = "final.safetensors"


def train(objective: str, folder: Path) -> None:
    checkpoints = Checkpoints(folder / "checkpoints", key="k")
    training = make_training(
        objective,
        steps=40,
        checkpoints=checkpoints,
        checkpoint_every=2,
        evaluate=lambda attachment: float(next(iter(attachment.grafts[0].tensors().values())).sum()),
        evaluate_every=3,
    )
    for _ in training.run():
        pass
    (folder / FINAL).write_bytes(save(training.graft.tensors()))


def start(train: Callable[[Path], None], folder: Path) -> int:
    """Train in a child process and give its id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            train(folder)
            code = 0
        finally:
            os._exit(code)
    return child


def run_until_done(
    train: Callable[[Path], None], folder: Path, *, chance: random.Random, longest: float
) -> int:
    """Start the training again and again, killing it, until one start ends by itself; count the kills."""
    folder.mkdir()
    kills = 0
    while True:
        child = start(train, folder)
        time.sleep(chance.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            return kills
        kills += 1


def kill_often(train: Callable[[Path], None], folder: Path, *, least: int) -> list[int]:
    """Train once in `whole`, and with so many kills in all in `run-0`, `run-1` ...; count the kills of each."""
    chance = random.Random(11)
    (folder / "whole").mkdir()
    started = time.monotonic()
    assert os.waitpid(start(train, folder / "whole"), 0)[1] == 0
    seconds = time.monotonic() - started
    kills: list[int] = []
    while sum(kills) < least:
        kills.append(
            run_until_done(train, folder / f"run-{len(kills)}", chance=chance, longest=0.9 * seconds)
        )
    return kills


if __name__ == "__main__":
    trained = partial(train, sys.argv[1])
    sys.stdout.write(json.dumps(kill_often(trained, Path(sys.argv[2]), least=int(sys.argv[3]))))
