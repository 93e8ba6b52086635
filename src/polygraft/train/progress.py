"""Where a training is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

NUM_POINTS = 200
"""About how many points the curve of the loss has."""


@dataclass(kw_only=True)
class Progress:
    """Where a training is; with the tensors, all that a checkpoint holds."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    """Of training and of scoring held-out data."""
    scoring_seconds: float = 0.0
    """Of them, those of scoring held-out data."""
    best: float | None = None
    since_best: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    num_batches: int = 0
    num_looked_up: int = 0
    """Of the batches, those whose frozen layers were looked up."""
    scaler: dict[str, float] = field(default_factory=dict)
    """What float16 needs to go on: see `Precision`."""
    memory: dict[str, float] = field(default_factory=dict)
    """The largest sizes until the checkpoint was written."""

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Progress:
        """Read what a checkpoint holds; what an older one does not have is as at the beginning."""
        names = [each.name for each in fields(cls)]
        return cls(**{name: facts[name] for name in names if name in facts})

    @property
    def tokens_per_second(self) -> float:
        """Mean rate of training alone."""
        return self.tokens / max(self.seconds - self.scoring_seconds, 1e-9)

    def note_score(self, score: float) -> bool:
        """Take note of a score on held-out data.

        Args:
            score: Larger is better; what is not a number is worse than any.

        Returns:
            Whether the values that have it are the best so far, the later of equally good ones.
        """
        best = self.best
        self.since_best += 1
        if math.isnan(score):
            return False
        if best is None or score > best:
            self.best, self.since_best = score, 0
        # Of equal scores the later has learned for longer: on few sentences, or while nothing is right yet, many are
        # equal.
        return best is None or score >= best

    def note_point(self, *, loss: float, held_out: float | None, total: int) -> None:
        """Add a point to the curve, if this step is one of those that it has.

        Args:
            loss: Of the step.
            held_out: The score on held-out data, where it was taken.
            total: Number of steps.
        """
        every = max(1, total // NUM_POINTS)
        if held_out is not None or self.step % every == 0 or self.step in (1, total):
            point = {"step": float(self.step), "loss": loss}
            if held_out is not None and not math.isnan(held_out):
                point["dev"] = held_out
            self.curve.append(point)
