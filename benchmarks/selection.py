"""How long it takes to choose the largest of all weights, and how much memory: polygraft against PyTorch's own pruning.

Random weights with the shapes of XLM-R base, 278 million of them, are pruned globally by magnitude to each sparsity, by

polygraft   `select_global`: exact, of equal scores the first, in chunks;
torch       `torch.nn.utils.prune.global_unstructured` with `L1Unstructured`: all scores together, `topk`.

Each measurement is a process of its own, and its memory is the largest resident size above the one when its weights had
been made. Both give masks: polygraft bools, torch a float for each weight, besides the masked weights and the original
ones. Both must keep equally many. PyTorch's side needs about 16 GB for all weights; `--scale 0.01` takes a hundredth
of the rows of each matrix, to try it out.

    python benchmarks/selection.py [--sparsities 0.5 0.9] [--rounds 3] [--scale 1.0] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from polygraft.prune.mask import count_places
from polygraft.prune.scores import magnitude
from polygraft.prune.select import select_global
from polygraft.prune.share import count_left
from polygraft.train.memory import PeakMemory

SIDES = ("polygraft", "torch")
HIDDEN, INNER, LAYERS = 768, 3072, 12
EMBEDDINGS = {
    "word": (250_002, HIDDEN),
    "position": (514, HIDDEN),
    "token_type": (1, HIDDEN),
    "norm.weight": (HIDDEN,),
    "norm.bias": (HIDDEN,),
}
LAYER = {
    **{f"{part}.weight": (HIDDEN, HIDDEN) for part in ("query", "key", "value", "output")},
    **{f"{part}.bias": (HIDDEN,) for part in ("query", "key", "value", "output")},
    "attention_norm.weight": (HIDDEN,),
    "attention_norm.bias": (HIDDEN,),
    "up.weight": (INNER, HIDDEN),
    "up.bias": (INNER,),
    "down.weight": (HIDDEN, INNER),
    "down.bias": (HIDDEN,),
    "ffn_norm.weight": (HIDDEN,),
    "ffn_norm.bias": (HIDDEN,),
}
POOLER = {"weight": (HIDDEN, HIDDEN), "bias": (HIDDEN,)}


class Measured(NamedTuple):
    """What one process found.

    Args:
        seconds: How long the selection took.
        memory: The largest resident size above that with the weights, in bytes.
        num_kept: How many weights are kept.
    """

    seconds: float
    memory: int
    num_kept: int


def list_shapes(*, scale: float) -> dict[str, tuple[int, ...]]:
    """The shapes of XLM-R base, with a share of the rows of each matrix."""
    shapes = {f"embeddings.{name}": shape for name, shape in EMBEDDINGS.items()}
    for layer in range(LAYERS):
        shapes |= {f"layer.{layer}.{name}": shape for name, shape in LAYER.items()}
    shapes |= {f"pooler.{name}": shape for name, shape in POOLER.items()}
    return {
        name: shape if len(shape) == 1 else (math.ceil(shape[0] * scale), shape[1])
        for name, shape in shapes.items()
    }


def make_weights(*, scale: float) -> dict[str, Tensor]:
    """Random weights, the same ones in every process."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.empty(shape).normal_(std=0.02, generator=generator)
        for name, shape in list_shapes(scale=scale).items()
    }


def prune_with_torch(weights: dict[str, Tensor], *, num_pruned: int) -> int:
    """Prune with PyTorch; gives how many are kept."""
    holders = [nn.Module() for _ in weights]
    for holder, tensor in zip(holders, weights.values(), strict=True):
        holder.register_parameter("weight", nn.Parameter(tensor, requires_grad=False))
    prune.global_unstructured(
        [(holder, "weight") for holder in holders], prune.L1Unstructured, amount=num_pruned
    )
    return sum(int(torch.count_nonzero(holder.get_buffer("weight_mask"))) for holder in holders)


def measure(side: str, *, sparsity: float, scale: float) -> Measured:
    """Choose once, in this process."""
    weights = make_weights(scale=scale)
    num_weights = sum(tensor.numel() for tensor in weights.values())
    num_kept = count_left(sparsity, total=num_weights)
    memory = PeakMemory()
    memory.begin()
    started = time.perf_counter()
    if side == "polygraft":
        shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        found = count_places(select_global(shapes, magnitude(weights), num_kept=num_kept))
    else:
        found = prune_with_torch(weights, num_pruned=num_weights - num_kept)
    seconds = time.perf_counter() - started
    return Measured(seconds=seconds, memory=memory.read() - memory.start, num_kept=found)


def measure_apart(side: str, *, sparsity: float, scale: float, threads: int) -> Measured:
    """Choose once, in a new process."""
    command = [sys.executable, __file__, "--side", side, "--sparsities", str(sparsity), "--scale", str(scale)]
    done = subprocess.run(
        [*command, "--threads", str(threads)], check=True, stdout=subprocess.PIPE, text=True
    )
    return Measured(**json.loads(done.stdout))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0.5, 0.9])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", choices=SIDES, help="measure this side once and print JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.side:
        found = measure(options.side, sparsity=options.sparsities[0], scale=options.scale)
        print(json.dumps(found._asdict()))
        return
    num_weights = sum(math.prod(shape) for shape in list_shapes(scale=options.scale).values())
    copy = 4 * num_weights
    print(
        f"{num_weights:,} weights, threads {options.threads}, torch {torch.__version__}, {options.rounds} rounds"
    )
    print("| sparsity | | seconds | memory above the weights | copies in float32 | kept |")
    print("|---|---|---|---|---|---|")
    for sparsity in options.sparsities:
        rounds: dict[str, list[Measured]] = {side: [] for side in SIDES}
        for _ in range(options.rounds):
            for side in SIDES:
                rounds[side].append(
                    measure_apart(side, sparsity=sparsity, scale=options.scale, threads=options.threads)
                )
        for side, found in rounds.items():
            seconds = sorted(one.seconds for one in found)
            memory = statistics.median(one.memory for one in found)
            print(
                f"| {sparsity} | {side} | {statistics.median(seconds):.2f} ({seconds[0]:.2f} to {seconds[-1]:.2f}) | "
                f"{memory / 1e6:,.0f} MB | {memory / copy:.2f} | {found[0].num_kept:,} |"
            )
        assert len({one.num_kept for found in rounds.values() for one in found}) == 1


if __name__ == "__main__":
    main()
