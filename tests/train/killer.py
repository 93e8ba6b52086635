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
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import save
from tests.tiny import make_base
from tests.train.material import LABELS, encode_sentences, make_masked_lm, make_training

from polygraft.attach.attach import Attachment
from polygraft.attach.graft import make_graft
from polygraft.base.base import Base
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.train.checkpoint import Checkpoints
from polygraft.train.labels import Labelling
from polygraft.train.loop import Training
from polygraft.train.prefix import PrefixCache
from polygraft.train.together import run_together

FINAL = "final.safetensors"


def train_alone(objective: str, folder: Path) -> None:
    base = make_base("bert")
    # Which other piece is scored beside the text's, chance and the base say anew each time.
    given = {"objective": make_masked_lm(base, negatives=1)} if objective == "mlm" else {}
    training = make_training(
        objective,
        base=base,
        **given,
        steps=40,
        checkpoints=Checkpoints(folder / "checkpoints", key="k"),
        checkpoint_every=1,
        evaluate=lambda attachment: float(next(iter(attachment.grafts[0].tensors().values())).sum()),
        evaluate_every=3,
    )
    for _ in training.run():
        pass
    (folder / FINAL).write_bytes(save(training.graft.tensors()))


def make_shared(base: Base, folder: Path, **changes: Any) -> Callable[[int], Training]:
    """Give what makes a training of a seed whose lowest layers are looked up, with checkpoints of its own."""
    objective = Labelling(
        encode_sentences(base, 12), cache=PrefixCache(memory=2**15, folder=folder / "cache")
    )

    def make(seed: int) -> Training:
        parts = [Bottleneck(reduction=2, skip_layers=(0,)), Head(objective="tokens", labels=LABELS)]
        return make_training(
            base=base,
            graft=make_graft(base, "new", parts, seed=seed),
            objective=objective,
            seed=seed,
            checkpoints=Checkpoints(folder / f"checkpoints-{seed}", key="k"),
            checkpoint_every=2,
            **changes,
        )

    return make


def write_ends(folder: Path, trainings: Sequence[Training]) -> None:
    """Write the values, and the losses and scores on the way to them, of trainings that have ended."""
    tensors = {
        f"{number}.{name}": tensor
        for number, training in enumerate(trainings)
        for name, tensor in training.graft.tensors().items()
    }
    curves = json.dumps([training.progress.curve for training in trainings])
    (folder / FINAL).write_bytes(save(tensors, {"curves": curves}))


def score_smallness(attachment: Attachment) -> float:
    """A score that is best early, so that patience ends the training."""
    return -sum(float(tensor.square().sum()) for tensor in attachment.grafts[0].tensors().values())


def train_patiently(folder: Path) -> None:
    changes = {"accumulate": 2, "steps": 20, "evaluate": score_smallness, "evaluate_every": 1, "patience": 7}
    training = make_shared(make_base("bert"), folder, **changes)(3)
    for _ in training.run():
        pass
    write_ends(folder, [training])


def train_together(folder: Path) -> None:
    make = make_shared(make_base("bert"), folder, steps=8)
    trainings = [make(seed) for seed in (1, 2)]
    for _ in run_together(trainings):
        pass
    write_ends(folder, trainings)


CASES: Mapping[str, Callable[[Path], None]] = {
    "tokens": partial(train_alone, "tokens"),
    "mlm": partial(train_alone, "mlm"),
    "patience": train_patiently,
    "together": train_together,
}


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
    train: Callable[[Path], None], folder: Path, *, chance: random.Random, longest: float, most: int
) -> int:
    """Start the training again and again, killing it, until one start ends by itself; count the kills.

    After `most` kills it is left alone.
    """
    folder.mkdir()
    kills = 0
    while True:
        child = start(train, folder)
        if kills < most:
            time.sleep(chance.uniform(0, longest))
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            return kills
        kills += 1


def kill_often(train: Callable[[Path], None], folder: Path, *, least: int) -> list[int]:
    """Train once in `whole`, and in `run-0`, `run-1` ... with ever more kills, the last with so many; count them."""
    chance = random.Random(11)
    (folder / "whole").mkdir()
    started = time.monotonic()
    assert os.waitpid(start(train, folder / "whole"), 0)[1] == 0
    seconds = time.monotonic() - started
    kills: list[int] = []
    longest = 0.9 * seconds
    while max(kills, default=0) < least:
        place = folder / f"run-{len(kills)}"
        kills.append(run_until_done(train, place, chance=chance, longest=longest, most=4 * least))
        longest /= 2
    return kills


if __name__ == "__main__":
    sys.stdout.write(json.dumps(kill_often(CASES[sys.argv[1]], Path(sys.argv[2]), least=int(sys.argv[3]))))
