"""What a base without its pruned neurons gains over the same base with zeros in their place.

Of every layer's feed-forward neurons the share with the largest weights (sum of magnitudes) is kept. The compact base
is written to a folder and loaded again, the masked one has zeros; both compute the same batches in turn, 24 rows of 64
tokens, forward only. What is told are medians over the rounds, and the largest difference of their hidden states.

    python benchmarks/compact.py [--keep 0.5] [--rounds 7] [--passes 5] [--dtype auto] [--threads N]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from polygraft.base.base import Base
from polygraft.base.compact import Compacted, compact_base
from polygraft.base.load import load_base
from polygraft.base.units import expand_units, list_units, sum_unit_scores

ROWS, LENGTH = 24, 64


def keep_largest(base: Base, *, share: float) -> dict[str, Tensor]:
    """Masks that keep a share of every layer's neurons, those whose weights have the largest sum of magnitudes."""
    masks: dict[str, Tensor] = {}
    for units in list_units(base, kind="neurons"):
        scores = sum_unit_scores(units, scores=lambda name: base.model.get_parameter(name).abs())
        kept = torch.zeros(units.num_units, dtype=torch.bool)
        kept[scores.topk(round(share * units.num_units)).indices] = True
        masks |= expand_units(units, kept=kept)
    return masks


def measure_rate(base: Base, ids: Tensor, *, passes: int) -> float:
    """Tokens a second of some passes."""
    started = time.perf_counter()
    for _ in range(passes):
        base.model(ids, torch.ones_like(ids))
    return passes * ids.numel() / (time.perf_counter() - started)


def count_products(written: Compacted, base: Base) -> tuple[int, int]:
    """Multiply-adds a token in the linear layers of one layer: of the compact base, and of the whole one."""
    hidden = base.sites.hidden
    whole = int(base.model.config.intermediate_size)
    return 4 * hidden**2 + 2 * hidden * written.num_neurons, 4 * hidden**2 + 2 * hidden * whole


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--keep", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    masked = load_base("bundled", device="cpu", dtype=options.dtype)
    # Written from unrounded weights, so that both bases round the same values.
    whole = masked if masked.dtype == "float32" else load_base("bundled", device="cpu")
    masks = keep_largest(whole, share=options.keep)
    with tempfile.TemporaryDirectory() as folder:
        written = compact_base(whole, folder=Path(folder) / "compact", masks=masks)
        num_bytes = sum(path.stat().st_size for path in written.folder.glob("*.safetensors"))
        compact = load_base(str(written.folder), device="cpu", dtype=options.dtype)
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {masked.dtype}, {options.rounds} rounds of "
        f"{options.passes} passes of {ROWS} x {LENGTH} tokens"
    )
    print(
        f"{written.num_neurons} neurons a layer, {written.num_parameters:,} of {written.num_parameters_before:,} "
        f"weights, {num_bytes / 1e6:.0f} MB of safetensors"
    )
    for note in written.notes:
        print(note)
    ids = torch.randint(10, 15_000, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))
    rates: dict[str, list[float]] = {"masked": [], "compact": []}
    with torch.no_grad():
        for name, mask in masks.items():
            masked.model.get_parameter(name).mul_(mask)
        pair = [base.model(ids, torch.ones_like(ids)).last_hidden_state for base in (masked, compact)]
        for _ in range(options.rounds):
            for name, base in (("masked", masked), ("compact", compact)):
                rates[name].append(measure_rate(base, ids, passes=options.passes))
    ratio = statistics.median(ours / theirs for theirs, ours in zip(*rates.values(), strict=True))
    print(f"their hidden states differ by {(pair[0] - pair[1]).abs().max():.1e} at most")
    for name, found in rates.items():
        print(f"{name:8s} {statistics.median(found):8,.0f} tokens/s ({min(found):,.0f} to {max(found):,.0f})")
    fewer, more = count_products(written, whole)
    print(
        f"compact is {ratio:.2f} times as fast; its linear layers have {more / fewer:.2f} times fewer products"
    )


if __name__ == "__main__":
    main()
