"""What training tells about itself: one event a step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Step:
    """One update of a graft. Progress bars, logs, reports and tests read these."""

    number: int
    """Counted from 1."""
    total: int
    """Steps of the whole training."""
    loss: float
    """Mean over the batch's targets, in nats, before the update."""
    lr: float
    plan: str
    """The plan that was in force."""
    num_tokens: int
    """Tokens of the batch, without padding."""
    seconds: float
    """Time of training since its beginning, over all interruptions."""
    tokens: int
    """Tokens since the beginning."""
    held_out: float | None
    """The score on held-out data, where it was taken after this step; larger is better."""
    is_best: bool
    """Whether that score is better than all before."""
    peak_memory_bytes: int
    """The process' largest resident size since the training began or went on."""

    @property
    def tokens_per_second(self) -> float:
        """Mean rate since the beginning."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float:
        """What the rest of the training takes at the mean rate so far."""
        return self.seconds / self.number * (self.total - self.number)
