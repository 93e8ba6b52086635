"""How fast a language graft trains on the bundled base: number formats and attention kernels in turn.

Each round runs every variant once, so that a machine whose speed drifts treats them alike; the medians
over the rounds are printed, and their ratio to the first variant.

    python benchmarks/training_step.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import chain

import numpy as np
import torch

from polygraft.attach.graft import Graft, make_graft
from polygraft.attach.plan import Named
from polygraft.base.base import Base
from polygraft.base.load import load_base
from polygraft.data.encode import EncodedText
from polygraft.data.masking import Masking, corpus_vocabulary
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.train.loop import Training
from polygraft.train.mlm import MaskedLm
from polygraft.train.settings import TrainSettings

VARIANTS = (
    ("float32", "polygraft"),
    ("float32", "sdpa"),
    ("float32", "eager"),
    ("bfloat16", "sdpa"),
    ("bfloat16", "eager"),
)
STEPS = 4


def make_text(base: Base, *, num_rows: int, seed: int) -> EncodedText:
    """Random rows of 10 to 60 pieces out of 15,000, as long as sentences are."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(10, 61, size=num_rows)
    ids = rng.integers(10, 15_000, size=int(lengths.sum())).astype(np.int32)
    return EncodedText(ids=ids, starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def start(base: Base, text: EncodedText) -> Training:
    """A language graft of reduction 2 below a masked-LM head on layer 8."""
    graft: Graft = make_graft(
        base, "qu", [Bottleneck(reduction=2, skip_layers=(8, 9, 10, 11)), Head(objective="mlm", layer=8)]
    )
    vocabulary = corpus_vocabulary(text, special_ids=base.special_ids)
    return Training(
        base=base,
        graft=graft,
        plans=[Named("qu")],
        grafts={"qu": graft},
        objective=MaskedLm(text, vocabulary=vocabulary, masking=Masking()),
        settings=TrainSettings(steps=10_000, batch_tokens=2048, lr=1e-3),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    runs = {}
    for dtype in ("float32", "bfloat16"):
        base = load_base("bundled", dtype=dtype)
        runs[dtype] = (base, start(base, make_text(base, num_rows=20_000, seed=0)).run())
        for _ in range(2):
            next(runs[dtype][1])
    rates: dict[tuple[str, str], list[float]] = {variant: [] for variant in VARIANTS}
    for dtype, attention in chain.from_iterable([VARIANTS] * rounds):
        base, steps = runs[dtype]
        base.model.set_attn_implementation(attention)
        next(steps)
        started = time.perf_counter()
        tokens = sum(next(steps).num_tokens for _ in range(STEPS))
        rates[dtype, attention].append(tokens / (time.perf_counter() - started))
    first = statistics.median(rates[VARIANTS[0]])
    print(f"threads {torch.get_num_threads()}, torch {torch.__version__}, {rounds} rounds of {STEPS} steps")
    for variant, found in rates.items():
        median = statistics.median(found)
        print(
            f"{variant[0]:9s} {variant[1]:6s} {median:8,.0f} tokens/s "
            f"({min(found):,.0f} to {max(found):,.0f}), ratio {median / first:.2f}"
        )


if __name__ == "__main__":
    main()
