"""How near a masked-LM step comes to its products alone: prints one line of JSON.

The floor of a step is the time that its multiply-adds take at the measured matrix rate: the frozen base's forward
pass and the gradient by its activations, of the linear layers (the last layer's feed-forward part where pieces are
masked, which nothing else reads), of attention, of the masked-LM head, and of the decoder at the masked positions over
the pieces that are scored. Nothing else is in it: no LayerNorm, no GELU, no softmax, no optimiser. The share with the
graft's own products is given apart. The rate is measured on the base's own shapes, by the quickest way there is here,
before every few steps, since the speed of a machine drifts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from batches import read_rows
from measure import Job, report
from torch import Tensor
from train_polygraft import NAME, list_parts, make_objective, make_training, plan_training

from polygraft.attach.graft import make_graft
from polygraft.base.base import Base
from polygraft.base.load import load_base, multiplies_bfloat16
from polygraft.base.packed import PackedWeight, multiplies_packed
from polygraft.data.masking import Masking
from polygraft.train.mlm import MaskedLm

ROUNDS = 5
REPEATS = 5
"""The best time of so many counts."""


@dataclass(frozen=True, kw_only=True)
class Product:
    """One product of a step: [rows, inner] by [inner, columns], so often."""

    name: str
    rows: int
    inner: int
    columns: int
    count: int
    batch: int = 1
    """Products done at once, one for each row and head of attention."""
    is_back: bool = False
    """Whether the weight is read along its rows, as a gradient does, or along its columns."""

    @property
    def multiply_adds(self) -> int:
        """Of all of them."""
        return self.rows * self.inner * self.columns * self.batch * self.count

    def make_calls(self, dtype: torch.dtype) -> list[Callable[[], Tensor]]:
        """Give the ways to compute it once: PyTorch's own, and oneDNN's with a packed weight where there is one."""
        if self.batch > 1:
            a = torch.randn(self.batch, self.rows, self.inner, dtype=dtype)
            b = torch.randn(self.batch, self.inner, self.columns, dtype=dtype)
            return [lambda: torch.bmm(a, b)]
        x = torch.randn(self.rows, self.inner, dtype=dtype)
        weight = torch.randn(self.columns, self.inner, dtype=dtype)
        turned = weight.T.contiguous()
        calls: list[Callable[[], Tensor]] = [
            lambda: torch.mm(x, turned) if self.is_back else torch.nn.functional.linear(x, weight)
        ]
        if multiplies_packed(torch.device("cpu")):
            packed = PackedWeight()
            calls.append(lambda: packed.multiply(x, weight, None))
        return calls


def list_linear(name: str, *, rows: int, inner: int, columns: int, count: int) -> list[Product]:
    """List a frozen linear layer's forward pass and its gradient by what it reads."""
    return [
        Product(name=name, rows=rows, inner=inner, columns=columns, count=count),
        Product(name=f"{name}, back", rows=rows, inner=columns, columns=inner, count=count, is_back=True),
    ]


def list_products(base: Base, *, rows: int, length: int, num_masked: int, num_pieces: int) -> list[Product]:
    """List the frozen products of a step."""
    config = base.model.config
    size, wide, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    tokens, pairs, part = rows * length, rows * config.num_attention_heads, size // config.num_attention_heads
    return [
        *list_linear("attention's projections", rows=tokens, inner=size, columns=size, count=4 * layers),
        *list_linear("feed-forward up", rows=tokens, inner=size, columns=wide, count=layers - 1),
        *list_linear("feed-forward down", rows=tokens, inner=wide, columns=size, count=layers - 1),
        # In the last layer nobody reads the others.
        *list_linear("last feed-forward up", rows=num_masked, inner=size, columns=wide, count=1),
        *list_linear("last feed-forward down", rows=num_masked, inner=wide, columns=size, count=1),
        # Of attention, forward and back: the scores and the gradient by the weights have one shape; the mix of values
        # and the gradients by queries, keys and values the other.
        Product(name="scores", rows=length, inner=part, columns=length, count=2 * layers, batch=pairs),
        Product(name="mix", rows=length, inner=length, columns=part, count=4 * layers, batch=pairs),
        *list_linear("masked-LM head", rows=num_masked, inner=size, columns=size, count=1),
        *list_linear("decoder", rows=num_masked, inner=size, columns=num_pieces, count=1),
    ]


def list_own_products(base: Base, *, tokens: int, num_masked: int, reduction: int) -> list[Product]:
    """List the products of the graft's bottlenecks: forward, gradient by the input, gradient by the weights."""
    config = base.model.config
    size, width, last = config.hidden_size, config.hidden_size // reduction, config.num_hidden_layers - 1
    return [
        Product(name=f"{name} of {rows}", rows=rows, inner=inner, columns=columns, count=3 * count)
        for rows, count in ((tokens, last), (num_masked, 1))
        for name, inner, columns in (("down", size, width), ("up", width, size))
    ]


def time_best(calls: list[Callable[[], Tensor]]) -> float:
    """Give the shortest of several times of the quickest way, in seconds."""
    times: list[float] = []
    for call in calls:
        call()
        for _ in range(REPEATS):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
    return min(times)


def compare(job: Job, base: Base) -> dict[str, Any]:
    """Time products and steps in turn."""
    work, dtype = job.work, base.model.dtype
    graft = make_graft(base, NAME, list_parts(work, []), seed=work.seed)
    objective = make_objective(work, read_rows(job.folder / "rows.npz"), base, exact=False)
    assert isinstance(objective, MaskedLm)
    assert objective.vocabulary is not None
    rows = work.batch_tokens // work.length
    num_pieces = len(objective.vocabulary) + objective.num_negatives
    num_masked = round(Masking().rate * rows * (work.length - 2))
    products = list_products(
        base, rows=rows, length=work.length, num_masked=num_masked, num_pieces=num_pieces
    )
    own = list_own_products(base, tokens=work.batch_tokens, num_masked=num_masked, reduction=work.reduction)
    whole = sum(product.multiply_adds for product in products)
    with_own = whole + sum(product.multiply_adds for product in own)
    training = make_training(base, graft, objective, plan_training(work))
    steps = training.run()
    for _ in range(work.warm):
        next(steps)
    floors: list[float] = []
    seconds: list[float] = []
    num_steps = max(1, (training.total - work.warm) // ROUNDS)
    for _ in range(min(ROUNDS, training.total - work.warm)):
        floors.append(sum(time_best(product.make_calls(dtype)) * product.count for product in products))
        times: list[float] = []
        for _ in range(num_steps):
            started = time.perf_counter()
            next(steps)
            times.append(time.perf_counter() - started)
        seconds.append(statistics.median(times))
    share = statistics.median(floor / step for floor, step in zip(floors, seconds, strict=True))
    return {
        "share": share,
        "share_with_own_products": share * with_own / whole,
        "rate": work.batch_tokens / statistics.median(seconds),
        "seconds_a_step": seconds,
        "seconds_of_products": floors,
        "multiply_adds": whole,
        "giga_multiply_adds_a_second": whole / statistics.median(floors) / 1e9,
        "num_pieces": num_pieces,
    }


def main() -> None:
    """Do the job of the command line."""
    job = Job.read()
    if job.side == "bfloat16" and not multiplies_bfloat16(torch.device("cpu")):
        report({"missing": "This processor has no units for bfloat16."})
        return
    report(compare(job, load_base(str(job.base), dtype=job.side)))


if __name__ == "__main__":
    main()
