"""Grafts of several members in one pass: a product for each segment of rows, against one grouped product for all.

What a batch of different plans computes for its bottlenecks and LoRAs, on the processor in float32 and in the sizes of
the bundled base: rows sorted by member, each member with matrices of its own. `segments` multiplies them one after the
other, as polygraft does; `grouped` is `torch.nn.functional.grouped_mm` over matrices that were stacked beforehand, and
`stacked` is the same with the stacking in the time, which a batch of plans that were not seen together before pays. The
variants alternate; printed are medians of milliseconds for one place of one layer, and their ratio to `segments`.

    python benchmarks/grouped.py [--rounds 15] [--rows 64] [--tokens 32] [--threads 2] [--cpu]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

HIDDEN = 384
WIDTHS = {"bottleneck, reduction 2": 192, "bottleneck, reduction 16": 24, "LoRA, rank 8": 8}
NUM_SEGMENTS = (8, 32, 64)
TOLERANCE = 1e-5


def multiply_segments(x: Tensor, down: Sequence[Tensor], up: Sequence[Tensor], ends: Sequence[int]) -> Tensor:
    """Go through the segments one after the other: [N, D] by matrices [R, D] and [D, R] to [N, D]."""
    pieces: list[Tensor] = []
    start = 0
    for index, end in enumerate(ends):
        pieces.append(functional.linear(functional.linear(x[start:end], down[index]).relu(), up[index]))
        start = end
    return torch.cat(pieces)


def multiply_grouped(x: Tensor, down: Tensor, up: Tensor, ends: Tensor) -> Tensor:
    """Do the same with matrices [S, D, R] and [S, R, D] in two grouped products."""
    return functional.grouped_mm(functional.grouped_mm(x, down, offs=ends).relu(), up, offs=ends)


def time_of(run: Callable[[], object], clock: Callable[[], float]) -> float:
    """Milliseconds that a call takes."""
    start = clock()
    run()
    return 1000 * (clock() - start)


def measure(
    width: int,
    *,
    num_segments: int,
    num_rows: int,
    num_tokens: int,
    rounds: int,
    clock: Callable[[], float],
) -> dict[str, float]:
    """Measure the variants in turn; medians of milliseconds."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(num_rows * num_tokens, HIDDEN, generator=generator)
    down = [torch.randn(width, HIDDEN, generator=generator) / HIDDEN**0.5 for _ in range(num_segments)]
    up = [torch.randn(HIDDEN, width, generator=generator) / width**0.5 for _ in range(num_segments)]
    ends = [(index + 1) * num_rows // num_segments * num_tokens for index in range(num_segments)]
    offsets = torch.tensor(ends, dtype=torch.int32)

    def stack() -> tuple[Tensor, Tensor]:
        return torch.stack([each.T for each in down]), torch.stack([each.T for each in up])

    stacked = stack()
    variants: dict[str, Callable[[], Tensor]] = {
        "segments": lambda: multiply_segments(x, down, up, ends),
        "grouped": lambda: multiply_grouped(x, *stacked, offsets),
        "stacked": lambda: multiply_grouped(x, *stack(), offsets),
    }
    expected = variants["segments"]()
    for name, run in variants.items():
        apart = float((run() - expected).abs().max() / expected.abs().max())
        if apart > TOLERANCE:
            raise SystemExit(f"{name} differs by {apart:.1e}")
    spent: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            spent[name].append(time_of(run, clock))
    return {name: statistics.median(values) for name, values in spent.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu", action="store_true", help="count this process's own time, beside other work")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{options.rows} rows of {options.tokens} tokens, {options.threads} threads, torch {torch.__version__}"
    )
    with torch.inference_mode():
        for name, width in WIDTHS.items():
            for count in NUM_SEGMENTS:
                medians = measure(
                    width,
                    num_segments=count,
                    num_rows=options.rows,
                    num_tokens=options.tokens,
                    rounds=options.rounds,
                    clock=time.process_time if options.cpu else time.perf_counter,
                )
                numbers = "  ".join(
                    f"{variant} {spent:7.2f} ms {spent / medians['segments']:5.2f}"
                    for variant, spent in medians.items()
                )
                print(f"{name:24} {count:2} segments  {numbers}")


if __name__ == "__main__":
    main()
