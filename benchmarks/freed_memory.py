"""What it gains that a training keeps the memory it frees: a language graft's steps with it and without.

Every side is a process of its own; each round runs both. The pieces of the random text are as many as a corpus has, so
that a batch's rows of the decoder are a piece of more than 32 MB.

    python benchmarks/freed_memory.py [--rounds 5] [--pieces 22000] [--dtype float32]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext

import numpy as np
import torch

from polygraft.attach.graft import make_graft
from polygraft.attach.plan import Named
from polygraft.base.load import load_base
from polygraft.data.encode import EncodedText
from polygraft.data.masking import Masking, corpus_vocabulary
from polygraft.parts.head import Head
from polygraft.parts.presets import language_graft
from polygraft.train import loop
from polygraft.train.loop import Training
from polygraft.train.mlm import MaskedLm
from polygraft.train.settings import NUM_NEGATIVES, TrainSettings

SIDES = ("kept", "given back")
WARM, STEPS, LENGTH = 3, 10, 64


def make_text(num_pieces: int) -> EncodedText:
    """Rows of one length, in which every piece occurs."""
    chance = np.random.default_rng(0)
    num_rows = max(2_000, -(-num_pieces // LENGTH))
    ids = chance.permutation(np.arange(num_rows * LENGTH) % num_pieces).astype(np.int32) + 10
    return EncodedText(ids=ids, starts=np.arange(num_rows + 1, dtype=np.int64) * LENGTH)


def measure(side: str, *, pieces: int, dtype: str) -> dict[str, float]:
    """Train some steps."""
    if side == "given back":
        # As it was, and as it is with another C library than glibc.
        loop.keep_freed_memory = nullcontext
    base, text = load_base("bundled", dtype=dtype), make_text(pieces)
    graft = make_graft(base, "qu", [*language_graft(), Head(objective="mlm")])
    training = Training(
        base=base,
        graft=graft,
        plans=[Named("qu")],
        grafts={"qu": graft},
        objective=MaskedLm(
            text,
            vocabulary=corpus_vocabulary(text, special_ids=base.special_ids),
            masking=Masking(),
            num_negatives=NUM_NEGATIVES,
        ),
        settings=TrainSettings(steps=WARM + STEPS, batch_tokens=24 * LENGTH, lr=1e-3),
    )
    steps = training.run()
    for _ in range(WARM):
        next(steps)
    before, seconds = resource.getrusage(resource.RUSAGE_SELF), list[float]()
    for _ in range(STEPS):
        started = time.perf_counter()
        next(steps)
        seconds.append(time.perf_counter() - started)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": statistics.median(seconds),
        "system": (after.ru_stime - before.ru_stime) / STEPS,
        "faults": (after.ru_minflt - before.ru_minflt) / STEPS,
        "bytes": float(training.memory.read()),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pieces", type=int, default=22_000)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--side", choices=SIDES, help="measure one side once, in this process")
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, pieces=options.pieces, dtype=options.dtype)))
        return
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for number in range(options.rounds):
        for side in SIDES if number % 2 else SIDES[::-1]:
            command = [sys.executable, *sys.argv, "--side", side]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[side].append(json.loads(done.stdout.splitlines()[-1]))
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.rounds} rounds of {STEPS} steps"
    )
    for side, rounds in found.items():
        seconds = [each["seconds"] for each in rounds]
        middle = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
        print(
            f"{side:10s} {middle['seconds']:.3f} s a step ({min(seconds):.3f} to {max(seconds):.3f}), "
            f"{middle['system']:.3f} s of it in the system, {middle['faults']:,.0f} page faults, "
            f"largest size {middle['bytes'] / 1e6:,.0f} MB"
        )
    pairs = zip(found["given back"], found["kept"], strict=True)
    ratios = sorted(before["seconds"] / after["seconds"] for before, after in pairs)
    print(
        f"{statistics.median(ratios):.2f} times as fast ({ratios[0]:.2f} to {ratios[-1]:.2f} in single rounds)"
    )


if __name__ == "__main__":
    main()
