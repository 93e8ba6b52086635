"""The loss over all pieces in three ways: ours, PyTorch's own in chunks, and plain scores.

Every way is a process of its own, so that each has its own largest size; each round runs every way once.

    python benchmarks/cross_entropy.py [--rounds 5] [--rows 230] [--size 384] [--pieces 250002]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import LinearCrossEntropyOptions, functional

from polygraft.attach.cross_entropy import sum_cross_entropy
from polygraft.train.memory import PeakMemory

REPEATS = 5


def sum_by_pytorch(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """PyTorch's own, in chunks that it chooses."""
    return functional.linear_cross_entropy(
        x, weight, targets, linear_bias=bias, reduction="sum", options=LinearCrossEntropyOptions()
    )


def sum_plainly(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """With a matrix of all scores."""
    return functional.cross_entropy(functional.linear(x, weight, bias), targets, reduction="sum")


WAYS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "polygraft's chunks": sum_cross_entropy,
    "linear_cross_entropy": sum_by_pytorch,
    "plain scores": sum_plainly,
}


def measure(way: str, *, rows: int, size: int, pieces: int) -> dict[str, float]:
    """Compute the loss and its gradient by `x` a few times."""
    torch.manual_seed(0)
    x, weight, bias = torch.randn(rows, size), torch.randn(pieces, size) / size**0.5, torch.randn(pieces)
    targets = torch.randint(0, pieces, (rows,))
    memory, seconds = PeakMemory(), list[float]()
    memory.begin()
    loss = 0.0
    for _ in range(REPEATS):
        inputs = x.clone().requires_grad_()
        started = time.perf_counter()
        total = WAYS[way](inputs, weight, bias, targets)
        total.backward()
        seconds.append(time.perf_counter() - started)
        loss = float(total.detach())
    return {
        "seconds": statistics.median(seconds),
        "bytes": float(memory.read() - memory.start),
        "loss": loss / rows,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=230, help="hidden pieces of a batch")
    parser.add_argument("--size", type=int, default=384, help="size of the decoder's input")
    parser.add_argument("--pieces", type=int, default=250_002)
    parser.add_argument("--way", choices=[*WAYS], help="measure one way once, in this process")
    options = parser.parse_args()
    if options.way:
        sizes = {"rows": options.rows, "size": options.size, "pieces": options.pieces}
        print(json.dumps(measure(options.way, **sizes)))
        return
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way in WAYS:
            command = [sys.executable, *sys.argv, "--way", way]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[way].append(json.loads(done.stdout))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.rounds} rounds")
    for way, rounds in found.items():
        seconds = [each["seconds"] for each in rounds]
        print(
            f"{way:22s} {1000 * statistics.median(seconds):7.0f} ms ({1000 * min(seconds):.0f} to "
            f"{1000 * max(seconds):.0f}), {statistics.median(each['bytes'] for each in rounds) / 1e6:,.0f} MB, "
            f"loss {rounds[0]['loss']:.6f}"
        )


if __name__ == "__main__":
    main()
