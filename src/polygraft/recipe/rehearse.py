"""Rehearses a kind of work for a moment on this machine: how long it takes, and how much memory."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save

from polygraft.attach.attach import attach
from polygraft.attach.graft import make_graft
from polygraft.attach.plan import Named
from polygraft.data.batches import plan_batches
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.places import encode_places
from polygraft.prune.keys import Places
from polygraft.prune.largest import keep_largest
from polygraft.recipe.volume import count_padded
from polygraft.train.memory import PeakMemory, give_back_memory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from polygraft.base.base import Base
    from polygraft.train.loop import Training

SMALL_SHARE, LARGE_SHARE = 0.125, 0.5
"""Of a batch of the training, the sizes of those that are rehearsed: from two sizes follow the cost of a batch and that
of a token."""
NUM_REPEATS = 2
"""How often each size is tried. The first time of the small one also prepares, and does not count."""
SMALL_ROWS, LARGE_ROWS = 4, 32
"""Rows that are scored."""
NUM_WRITTEN = 1 << 21
"""Values that are written down to see how fast that goes, and places that are chosen among."""
WRITE_RATE = 400e6
"""Bytes a second that a disk is taken to write: nothing is written to see it."""
LEAST_TOKENS = 16


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What batches of a kind cost: seconds, or bytes of memory."""

    batch: float
    """What each batch costs, however small."""
    token: float
    """What each token costs besides, padding included."""

    def estimate(self, *, num_batches: float, num_tokens: float) -> float:
        """Give what some batches with so many tokens together cost."""
        return num_batches * self.batch + num_tokens * self.token


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What a kind of work takes."""

    seconds: Cost
    memory: Cost
    """Bytes on top of what is there before; a batch's is what does not grow with its tokens."""
    value: float = 0.0
    """Seconds of an update for each trained value, beside those of its batches."""
    num_values: int = 0
    """Values that were trained in the rehearsal."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How fast values are written down."""

    saved_byte: float
    """Seconds for a byte of a checkpoint or a graft."""
    chosen: float
    """Seconds for a weight among which places are chosen."""
    copied: float
    """Seconds for a value of which a copy is kept."""


def fit_cost(small: tuple[float, float], large: tuple[float, float]) -> Cost:
    """Find what a batch and what a token costs, from the tokens of two batches and what each cost.

    Example:
        >>> fit_cost((10, 3.0), (20, 4.0))
        Cost(batch=2.0, token=0.1)
    """
    tokens = large[0] - small[0]
    token = (large[1] - small[1]) / tokens if tokens > 0 else 0.0
    batch = small[1] - token * small[0]
    if token <= 0 or batch < 0:
        return Cost(batch=0.0, token=max(0.0, large[1]) / large[0])
    return Cost(batch=batch, token=token)


def fit_memory(small: tuple[float, float], large: tuple[float, float]) -> Cost:
    """Do the same for the memory that was taken, which is never told smaller than that of the larger batch.

    Example:
        >>> fit_memory((10, 30.0), (20, 30.0))
        Cost(batch=30.0, token=0.0)
    """
    tokens = large[0] - small[0]
    token = max(0.0, (large[1] - small[1]) / tokens) if tokens > 0 else 0.0
    return Cost(batch=max(0.0, large[1] - token * large[0]), token=token)


def warm_up(base: Base) -> None:
    """Make one small update: libraries then have prepared what they keep, which is no cost of any step."""
    graft = make_graft(base, "scratch", [Bottleneck(reduction=base.sites.hidden)])
    optimiser = torch.optim.AdamW(graft.layers.parameters(), fused=True)
    input_ids = torch.zeros((1, LEAST_TOKENS), dtype=torch.int64, device=base.device)
    with attach(base, Named(graft.name), grafts=[graft]) as attachment:
        attachment.run(input_ids, torch.ones_like(input_ids)).float().square().mean().backward()
    optimiser.step()


def rehearse_updates(training: Training, *, looks_up: bool = False) -> Pace:
    """Let a training make a few updates of two sizes; its graft is of no use afterwards.

    Args:
        training: One that was just made, without checkpoints and without scores on the way.
        looks_up: Whether its batches are to find in its cache what frozen layers give for them.
    """
    lengths, budget = training.objective.lengths(), training.settings.batch_tokens
    sizes = [pick_batch(lengths, round(share * budget)) for share in (SMALL_SHARE, LARGE_SHARE)]
    count, times = training.processes.launch.count, NUM_REPEATS
    training.updates = [[rows] * count for rows in sizes for _ in range(times)]
    seconds, peaks, before = list[float](), list[float](), 0.0
    for step in training.run():
        seconds.append(step.seconds - before)
        before = step.seconds
        peaks.append(float(step.peak_memory_bytes - training.memory.start))
    num_values = sum(tensor.numel() for tensor in training.parameters.values())
    value = _time(training.optimiser.step) / num_values
    tokens = [float(count_padded(lengths, rows)) for rows in sizes]
    # The first batch of a size that is looked up later is computed.
    timed = [seconds[times - 1], seconds[-1] if looks_up else min(seconds[times:])]
    whole = [max(0.0, each - value * num_values) for each in timed]
    return Pace(
        seconds=fit_cost((tokens[0], whole[0]), (tokens[1], whole[1])),
        memory=fit_memory((tokens[0], peaks[times - 1]), (tokens[1], peaks[-1])),
        value=value,
        num_values=num_values,
    )


def rehearse_scores(work: Callable[[int], float]) -> Pace:
    """Score a few rows in two sizes.

    Args:
        work: Scores the rows of the first or the second size, and gives their tokens.
    """
    give_back_memory()
    memory = PeakMemory()
    memory.begin()
    work(0)
    tokens, seconds, peaks = list[float](), list[float](), list[float]()
    for size in (0, 1):
        started = time.perf_counter()
        tokens.append(work(size))
        seconds.append(time.perf_counter() - started)
        peaks.append(float(memory.read() - memory.start))
    return Pace(
        seconds=fit_cost((tokens[0], seconds[0]), (tokens[1], seconds[1])),
        memory=fit_memory((tokens[0], peaks[0]), (tokens[1], peaks[1])),
    )


def measure_rates() -> Rates:
    """See how fast values are packed and their digest is made, and how fast places are chosen among weights."""
    values = torch.linspace(0, 1, NUM_WRITTEN)
    packed = _time(lambda: hashlib.sha256(save({"values": values})).digest())
    places = Places(shapes={"w": (NUM_WRITTEN,)}, score=lambda name: values, within=None)
    chosen = _time(lambda: encode_places([keep_largest(places, num_kept=NUM_WRITTEN // 4)["w"]]))
    return Rates(
        saved_byte=packed / (4 * NUM_WRITTEN) + 1 / WRITE_RATE,
        chosen=chosen / NUM_WRITTEN,
        copied=_time(values.clone) / NUM_WRITTEN,
    )


def pick_batch(lengths: NDArray[np.int64], num_tokens: int) -> NDArray[np.int64]:
    """Give the rows of a batch of a usual shape that has about so many tokens.

    Args:
        lengths: Tokens of each row.
        num_tokens: Most tokens of the batch, padding included, unless one row has more.
    """
    batches = plan_batches(lengths, token_budget=max(LEAST_TOKENS, num_tokens), seed=0, epoch=0)
    ordered = sorted(batches, key=lambda rows: count_padded(lengths, rows))
    return ordered[len(ordered) // 2]


def _time(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def split_sizes(total: int) -> tuple[int, int]:
    """Give the two numbers of rows that are scored, of so many that there are."""
    large = min(LARGE_ROWS, total)
    return max(1, min(SMALL_ROWS, large // 2)), large


def mean_pace(paces: Sequence[Pace | None]) -> Pace | None:
    """Give the mean of some paces; None where one of them is not known."""
    known = [pace for pace in paces if pace is not None]
    if len(known) < len(paces):
        return None
    return Pace(
        seconds=_mean_cost([pace.seconds for pace in known]),
        memory=Cost(
            batch=max(pace.memory.batch for pace in known), token=max(pace.memory.token for pace in known)
        ),
        value=statistics.fmean(pace.value for pace in known),
        num_values=known[0].num_values,
    )


def _mean_cost(costs: Sequence[Cost]) -> Cost:
    return Cost(
        batch=statistics.fmean(cost.batch for cost in costs),
        token=statistics.fmean(cost.token for cost in costs),
    )
