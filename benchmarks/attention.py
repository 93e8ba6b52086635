"""Attention over short rows, forward and back: polygraft's own, which a base takes on a processor, against PyTorch's.

Both are called as a layer of a base calls them, in turn, on the same values; medians, and the ratio of medians.

    python benchmarks/attention.py [--heads 12] [--size 32] [--repeats 60] [--threads 2]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from polygraft.base.attention import attend
from polygraft.train.memory import keep_freed_memory

SHAPES = ((96, 16), (48, 32), (24, 64), (16, 96), (12, 128))
"""Rows and their tokens: 1,536 tokens a batch."""
LAYER: Any = SimpleNamespace(is_causal=False)


def measure(function: Callable[..., Any], inputs: list[Tensor], mask: Tensor | None) -> float:
    """Take the time of one call and of the gradients of its inputs."""
    started = time.perf_counter()
    out, _ = function(LAYER, *inputs, mask, scaling=inputs[0].shape[-1] ** -0.5)
    torch.autograd.grad(out, inputs, torch.ones_like(out))
    return time.perf_counter() - started


def compare(rows: int, length: int, options: argparse.Namespace, *, is_masked: bool) -> tuple[float, float]:
    """Give the medians of both in seconds."""
    inputs = [
        torch.randn(rows, length, options.heads, options.size).transpose(1, 2).requires_grad_()
        for _ in range(3)
    ]
    sees = torch.ones(rows, 1, 1, length, dtype=torch.bool)
    # The last eighth is padding in every other row.
    sees[::2, :, :, length - length // 8 :] = False
    mask = sees.expand(rows, 1, length, length) if is_masked else None
    found: tuple[list[float], list[float]] = [], []
    for number in range(options.repeats + 5):
        for times, function in zip(found, (attend, sdpa_attention_forward), strict=True):
            taken = measure(function, inputs, mask)
            if number >= 5:
                times.append(taken)
    return statistics.median(found[0]), statistics.median(found[1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--size", type=int, default=32, help="of a head")
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"torch {torch.__version__}, {options.threads} threads, {options.heads} heads of {options.size}, float32"
    )
    with keep_freed_memory():
        for rows, length in SHAPES:
            for is_masked in (False, True):
                own, other = compare(rows, length, options, is_masked=is_masked)
                print(
                    f"{rows:3} rows of {length:3}{', padding' if is_masked else '':9}  "
                    f"polygraft {1e3 * own:6.2f} ms, PyTorch {1e3 * other:6.2f} ms: {other / own:.2f} times"
                )


if __name__ == "__main__":
    main()
