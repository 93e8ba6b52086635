"""What the trainings took together that a graft went through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polygraft.train.loop import Training

SUMS = ("seconds", "scoring_seconds", "tokens")
SHARES = ("padding", "looked_up")
"""Shares of the tokens that were read, and of the batches."""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What one training took, or several together."""

    steps: int
    """Updates."""
    cost: Mapping[str, float]
    """As `Training.measure_cost` gives it."""


def measure_spent(training: Training) -> Spent:
    """Tell what a training took."""
    return Spent(steps=training.progress.step, cost=training.measure_cost())


def sum_spent(phases: Sequence[Spent]) -> Spent:
    """Put together what trainings took one after the other.

    Times, tokens and updates are added up, sizes are those of the largest, and shares are weighted by the tokens.

    Args:
        phases: At least one.

    Example:
        >>> first = Spent(
        ...     steps=3, cost={"seconds": 2.0, "tokens": 10.0, "peak_memory_bytes": 7.0, "padding": 0.1}
        ... )
        >>> second = Spent(
        ...     steps=1, cost={"seconds": 3.0, "tokens": 30.0, "peak_memory_bytes": 5.0, "padding": 0.5}
        ... )
        >>> whole = sum_spent([first, second])
        >>> (
        ...     whole.steps,
        ...     whole.cost["tokens_per_second"],
        ...     whole.cost["peak_memory_bytes"],
        ...     whole.cost["padding"],
        ... )
        (4, 8.0, 7.0, 0.4)
    """
    keys = dict.fromkeys(key for phase in phases for key in phase.cost)
    cost: dict[str, float] = {}
    for key in keys:
        known = [phase.cost for phase in phases if key in phase.cost]
        if key in SUMS:
            cost[key] = sum(each[key] for each in known)
        elif key in SHARES:
            tokens = sum(each["tokens"] for each in known)
            cost[key] = sum(each[key] * each["tokens"] for each in known) / max(1.0, tokens)
        else:
            cost[key] = max(each[key] for each in known)
    seconds = cost["seconds"] - cost.get("scoring_seconds", 0.0)
    cost["tokens_per_second"] = cost["tokens"] / max(seconds, 1e-9)
    return Spent(steps=sum(phase.steps for phase in phases), cost=cost)
