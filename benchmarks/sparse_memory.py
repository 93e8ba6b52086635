"""What training the base's own weights needs: all of them plainly, all as a graft, and few at a mask's places.

Each side runs in a process of its own: it loads the bundled base, trains its linear layers for some steps on random
rows, and tells the largest resident size above that of the loaded base, and its rate. A side's optimiser is AdamW.

    python benchmarks/sparse_memory.py [--rounds 3] [--steps 6] [--rows 8] [--length 32]
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
from torch import Tensor, nn

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft, make_graft
from polygraft.attach.sparse import find_edit, make_delta
from polygraft.base.base import Base
from polygraft.base.load import load_base
from polygraft.parts.delta import Delta, DeltaLayers
from polygraft.train.memory import PeakMemory

SIDES = {
    "plain PyTorch, all weights": None,
    "graft, all weights": 1.0,
    "graft, 10 %": 0.1,
    "graft, 1 %": 0.01,
}
"""The density of each side's mask."""


def make_sparse(base: Base, density: float) -> Graft:
    """A delta at random places of the linear layers, or at all of them."""
    if density == 1:
        return make_graft(base, "g", [Delta()])
    infos = find_edit(make_graft(base, "g", [Delta()]), DeltaLayers).infos
    return make_delta(base, "g", {info.name: torch.rand(info.shape) < density for info in infos})


def train_plainly(base: Base, ids: Tensor) -> tuple[Callable[[], None], list[Tensor]]:
    """Steps that differentiate the linear layers' weights and update all of them."""
    weights = [layer.weight for layer in base.model.modules() if isinstance(layer, nn.Linear)]
    for weight in weights:
        weight.requires_grad_(True)

    def compute() -> None:
        with attach(base, None) as attachment:
            attachment.run(ids, torch.ones_like(ids)).square().mean().backward()

    return compute, list(weights)


def train_graft(base: Base, ids: Tensor, *, density: float) -> tuple[Callable[[], None], list[Tensor]]:
    """Steps that update the values of a delta."""
    graft = make_sparse(base, density)

    def compute() -> None:
        with attach(base, "g", grafts=[graft]) as attachment:
            attachment.run(ids, torch.ones_like(ids)).square().mean().backward()

    return compute, list(graft.layers.parameters())


def measure(side: str, *, steps: int, rows: int, length: int) -> dict[str, float]:
    """Train one side and tell megabytes above the base's own, and tokens a second after two steps."""
    base = load_base("bundled", dtype="float32")
    ids = torch.randint(5, 20_000, (rows, length), generator=torch.Generator().manual_seed(0))
    memory = PeakMemory()
    memory.begin()
    density = SIDES[side]
    compute, values = train_plainly(base, ids) if density is None else train_graft(base, ids, density=density)
    optimiser = torch.optim.AdamW(values, lr=1e-5, fused=True)
    started = 0.0
    for number in range(steps + 2):
        started = time.perf_counter() if number == 2 else started
        optimiser.zero_grad()
        compute()
        optimiser.step()
    seconds = time.perf_counter() - started
    return {
        "mb": memory.measure()["peak_memory_above_start_bytes"] / 1e6,
        "rate": steps * rows * length / seconds,
    }


def main() -> None:
    """Run every side in processes of its own, in turn, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--side", choices=list(SIDES), help="measure one side in this process")
    asked = parser.parse_args()
    if asked.side is not None:
        print(json.dumps(measure(asked.side, steps=asked.steps, rows=asked.rows, length=asked.length)))
        return
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    sizes = ["--steps", str(asked.steps), "--rows", str(asked.rows), "--length", str(asked.length)]
    for _ in range(asked.rounds):
        for side in SIDES:
            command = [sys.executable, __file__, "--side", side, *sizes]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[side].append(json.loads(done.stdout))
    print(
        f"threads {torch.get_num_threads()}, torch {torch.__version__}, {asked.rows} rows of {asked.length}"
    )
    for side, rounds in found.items():
        mb, rate = (statistics.median(each[key] for each in rounds) for key in ("mb", "rate"))
        print(f"{side:28s} {mb:7,.0f} MB above the base, {rate:7,.0f} tokens/s")


if __name__ == "__main__":
    main()
