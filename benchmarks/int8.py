"""What a forward in int8 gains on the bundled base: single products, whole passes, and training steps.

Every round runs each variant once, and what is told are medians over the rounds. One thread, and its processor time
instead of the clock's, so that other work on the machine counts for little.

    python benchmarks/int8.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from training_step import make_text, start

from polygraft.attach.graft import make_graft
from polygraft.attach.plan import Named
from polygraft.base.base import Base
from polygraft.base.int8 import multiply_int8, quantise_weight
from polygraft.base.load import load_base
from polygraft.data.encode import EncodedTags, EncodedText
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.train.labels import Labelling
from polygraft.train.loop import Training
from polygraft.train.settings import TrainSettings

DTYPES = ("float32", "int8", "bfloat16")
TOKENS = 2048
SHAPES = ((384, 384), (384, 1536), (1536, 384), (768, 768), (768, 3072), (3072, 768))
"""Inputs and outputs of the linear layers of the bundled base, and of XLM-R base."""
LABELS = tuple(f"label-{number}" for number in range(9))


def start_task(base: Base, text: EncodedText) -> Training:
    """A task graft of reduction 4 in layers 4 to 11, on labels drawn by chance."""
    labels = np.random.default_rng(1).integers(0, len(LABELS), size=text.num_tokens).astype(np.int32)
    data = EncodedTags(
        ids=text.ids,
        starts=text.starts,
        labels=labels,
        word_of=np.zeros_like(labels),
        num_words=np.ones(text.num_rows, np.int64),
    )
    parts = [Bottleneck(reduction=4, skip_layers=(0, 1, 2, 3)), Head(objective="tokens", labels=LABELS)]
    graft = make_graft(base, "ner", parts)
    return Training(
        base=base,
        graft=graft,
        plans=[Named("ner")],
        grafts={"ner": graft},
        objective=Labelling(data),
        settings=TrainSettings(steps=10_000, batch_tokens=TOKENS, lr=1e-3),
    )


def make_products(inputs: int, outputs: int) -> dict[str, Callable[[], Tensor]]:
    """One linear layer in every way that was thought of."""
    x, weight, bias = torch.randn(TOKENS, inputs), torch.randn(outputs, inputs), torch.randn(outputs)
    rounded = quantise_weight(weight)
    half_x, half_weight, half_bias = x.bfloat16(), weight.bfloat16(), bias.bfloat16()
    torch.backends.quantized.engine = "onednn"
    steps, zeros = rounded.steps.double(), torch.zeros(outputs, dtype=torch.long)
    packed = torch.ops.quantized.linear_prepack(
        torch.quantize_per_channel(weight, steps, zeros, 0, torch.qint8), bias
    )
    return {
        "float32": lambda: functional.linear(x, weight, bias),
        "int8": lambda: multiply_int8(x, rounded, bias),
        "int8, one scale for all rows (linear_dynamic)": lambda: torch.ops.quantized.linear_dynamic(
            x, packed, False
        ),
        "bfloat16": lambda: functional.linear(half_x, half_weight, half_bias),
        "bfloat16, casts included": lambda: functional.linear(x.bfloat16(), half_weight, half_bias).float(),
        "float32, oneDNN, weights not packed": lambda: torch.ops.mkldnn._linear_pointwise(
            x, weight, bias, "none", [], ""
        ),
    }


def make_passes(bases: Mapping[str, Base]) -> dict[str, Callable[[], object]]:
    """A pass of 50 rows of 40 pieces without gradients."""
    ids = torch.randint(10, 15_000, (50, 40))
    return {name: lambda base=base: base.model(ids, torch.ones_like(ids)) for name, base in bases.items()}


def compare(title: str, variants: Mapping[str, Callable[[], object]], *, rounds: int) -> None:
    """Print what each variant takes, and how many times as fast as the first it is."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, run in variants.items():
            started = time.process_time()
            run()
            if number > 0:
                seconds[name].append(time.process_time() - started)
    first = statistics.median(next(iter(seconds.values())))
    print(title)
    for name, found in seconds.items():
        median = statistics.median(found)
        spread = f"{1000 * min(found):.1f} to {1000 * max(found):.1f}"
        print(f"  {name:48s} {1000 * median:8.1f} ms ({spread}), {first / median:.2f} times as fast")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread, {rounds} rounds, {TOKENS} tokens")
    for inputs, outputs in SHAPES:
        compare(f"{inputs} to {outputs}", make_products(inputs, outputs), rounds=2 * rounds)
    bases = {dtype: load_base("bundled", device="cpu", dtype=dtype) for dtype in DTYPES}
    with torch.inference_mode():
        compare("a pass without gradients", make_passes(bases), rounds=rounds)
    texts = {dtype: make_text(base, num_rows=20_000, seed=0) for dtype, base in bases.items()}
    for title, begin in (("a step of a language graft", start), ("a step of a task graft", start_task)):
        steps = {dtype: begin(base, texts[dtype]).run() for dtype, base in bases.items()}
        compare(title, {dtype: lambda run=run: next(run) for dtype, run in steps.items()}, rounds=rounds)


if __name__ == "__main__":
    main()
