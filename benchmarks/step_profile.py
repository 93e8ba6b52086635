"""Where the time of a training step goes, as PyTorch's profiler sees it, by kinds of arithmetic.

    python benchmarks/step_profile.py [--work language] [--dtype float32] [--base bundled] [--steps 6]

`language` is a language graft (reduction 2, invertible; random rows of 64 pieces), `task` a NER graft (reduction 16,
all layers; random rows of 10 to 60), `upper` the same above the lowest half of the layers, in its first epoch, and
`upper-later` in its later ones, which look up what stands below. The steps before are not counted.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from torch.autograd.profiler_util import FunctionEventAvg
from torch.profiler import ProfilerActivity, profile

from polygraft.attach.graft import make_graft
from polygraft.attach.plan import Named
from polygraft.base.base import Base
from polygraft.base.load import load_base
from polygraft.data.encode import EncodedTags, EncodedText
from polygraft.data.masking import Masking, corpus_vocabulary
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.invertible import Invertible
from polygraft.parts.part import Part
from polygraft.train.labels import Labelling
from polygraft.train.loop import Training
from polygraft.train.mlm import MaskedLm
from polygraft.train.objective import Objective
from polygraft.train.prefix import PrefixCache
from polygraft.train.settings import NUM_NEGATIVES, TrainSettings
from polygraft.train.step import Step

WARM = 3
"""Steps that are not counted."""
NUM_PIECES, NUM_LABELS = 22_000, 7
ROW, LANGUAGE_TOKENS, TASK_TOKENS = 64, 1536, 1024
LONGEST_ROW = 128
"""A softmax over more is one over pieces."""
PRODUCTS = ("mm", "addmm", "linear", "_linear_pointwise", "_int_mm", "bmm", "baddbmm")
OF_ATTENTION = ("bmm", "baddbmm")
KINDS = {
    "gelu": "GELU and its gradient",
    "gelu_backward": "GELU and its gradient",
    "native_layer_norm": "LayerNorm and its gradient",
    "native_layer_norm_backward": "LayerNorm and its gradient",
    "_fused_adamw_": "fused AdamW",
    "_scaled_dot_product_flash_attention_for_cpu": "attention",
    "_scaled_dot_product_flash_attention_for_cpu_backward": "attention",
}
SUMS = (
    "add", "sub", "mul", "div", "neg", "sum", "mean", "amin", "amax", "maximum", "round", "clamp", "clamp_min", "cat",
    "copy", "clone", "addcmul", "fill", "zero", "exp", "index", "index_select", "index_put", "relu", "silu", "where",
    "threshold_backward", "silu_backward",
)  # fmt: skip
SOFTMAX = ("_softmax", "_softmax_backward_data", "_log_softmax", "_log_softmax_backward_data", "logsumexp")


def classify(event: FunctionEventAvg, frozen: set[tuple[int, int]]) -> str:
    """Name the kind of arithmetic that an operation belongs to.

    Args:
        event: What the profiler counted for an operation on inputs of certain shapes.
        frozen: Shapes of the base's weights, either way round.
    """
    name = (event.key or "").rpartition("::")[2]
    shapes = [tuple(shape) for shape in event.input_shapes or () if shape]
    if name in OF_ATTENTION:
        return "attention"
    if name in PRODUCTS:
        is_frozen = any(shape in frozen for shape in shapes)
        return f"products with {'frozen weights' if is_frozen else 'other weights'}"
    if name in SOFTMAX:
        width = shapes[0][-1] if shapes else 0
        return "softmax over pieces" if width > LONGEST_ROW else "attention"
    return KINDS.get(name, "sums, factors and copies" if name.rstrip("_") in SUMS else "the rest")


def make_text(*, seed: int) -> EncodedText:
    """Make random rows of one length."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(10, NUM_PIECES, size=(2_000, ROW)).astype(np.int32)
    return EncodedText(ids=ids.reshape(-1), starts=np.arange(len(ids) + 1, dtype=np.int64) * ROW)


def make_tags(*, num_rows: int, seed: int) -> EncodedTags:
    """Make random rows of 10 to 60 pieces with random labels."""
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(rng.integers(10, 61, size=num_rows))]).astype(np.int64)
    return EncodedTags(
        ids=rng.integers(10, NUM_PIECES, size=int(starts[-1])).astype(np.int32),
        starts=starts,
        labels=rng.integers(0, NUM_LABELS, size=int(starts[-1])).astype(np.int32),
        word_of=np.full(int(starts[-1]), -1, dtype=np.int32),
        num_words=np.zeros(num_rows, dtype=np.int64),
    )


def start(base: Base, work: str) -> tuple[Iterator[Step], int]:
    """Begin a training, and tell how many steps come before those that count."""
    objective: Objective
    warm = WARM
    if work == "language":
        text = make_text(seed=0)
        vocabulary = corpus_vocabulary(text, special_ids=base.special_ids)
        objective = MaskedLm(text, vocabulary=vocabulary, masking=Masking(), num_negatives=NUM_NEGATIVES)
        parts: list[Part] = [Bottleneck(reduction=2), Invertible(reduction=2)]
        parts += [Head(objective="mlm")] if base.head is None else []
        settings = TrainSettings(steps=10_000, batch_tokens=LANGUAGE_TOKENS, lr=1e-3)
    else:
        is_upper = work.startswith("upper")
        objective = Labelling(make_tags(num_rows=600, seed=0), cache=PrefixCache())
        skipped = tuple(range(base.sites.num_layers // 2)) if is_upper else ()
        labels = tuple(f"L{number}" for number in range(NUM_LABELS))
        parts = [Bottleneck(reduction=16, skip_layers=skipped), Head(objective="tokens", labels=labels)]
        settings = TrainSettings(epochs=100, batch_tokens=TASK_TOKENS, lr=1e-3)
        if work == "upper-later":
            warm = len(objective.plan_epoch(batch_tokens=TASK_TOKENS, seed=0, epoch=0))
    graft = make_graft(base, "graft", parts)
    training = Training(
        base=base,
        graft=graft,
        plans=[Named(graft.name)],
        grafts={graft.name: graft},
        objective=objective,
        settings=settings,
    )
    return training.run(), warm


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", choices=["language", "task", "upper", "upper-later"], default="language")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "int8"], default="float32")
    parser.add_argument("--base", default="bundled")
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()
    base = load_base(options.base, dtype=options.dtype)
    steps, warm = start(base, options.work)
    for _ in islice(steps, warm):
        pass
    seconds, num_tokens = list[float](), 0
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, acc_events=True) as profiler:
        for _ in range(options.steps):
            started = time.perf_counter()
            num_tokens += next(steps).num_tokens
            seconds.append(time.perf_counter() - started)
    shapes = {(len(each), each[0].numel()) for each in base.model.parameters() if each.ndim == 2}
    frozen = shapes | {(columns, rows) for rows, columns in shapes}
    shares: defaultdict[str, float] = defaultdict(float)
    for event in profiler.key_averages(group_by_input_shape=True):
        shares[classify(event, frozen)] += event.self_cpu_time_total / 1e6
    whole = sum(seconds)
    shares["the rest"] += whole - sum(shares.values())
    print(
        f"{options.work}, {options.dtype}, {torch.get_num_threads()} threads, torch {torch.__version__}: "
        f"{statistics.median(seconds):.3f} s a step of {num_tokens / options.steps:.0f} tokens, with "
        "the profiler's own time"
    )
    for kind, spent in sorted(shares.items(), key=lambda item: -item[1]):
        print(f"{spent / whole:6.1%}  {kind}")


if __name__ == "__main__":
    main()
