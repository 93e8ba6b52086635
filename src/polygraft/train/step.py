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
    """Time since the training's beginning, over all interruptions: of updates and of scoring held-out data."""
    scoring_seconds: float = 0.0
    """Of it, the time of scoring held-out data."""
    tokens: int
    """Tokens since the beginning."""
    held_out: float | None
    """The score on held-out data, where it was taken after this step; larger is better."""
    is_best: bool
    """Whether the values after this step are the best so far, the later of equally good ones: those that are kept."""
    peak_memory_bytes: int
    """The process' largest resident size since the training began or went on."""
    peak_device_memory_bytes: int | None = None
    """The most memory that tensors took on the base's GPU since then; None where the base is not on one."""

    @property
    def tokens_per_second(self) -> float:
        """Mean rate of training since the beginning, without the time of scoring."""
        seconds = self.seconds - self.scoring_seconds
        return self.tokens / seconds if seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float:
        """What the rest of the training takes at the mean rate so far, scoring included."""
        return self.seconds / self.number * (self.total - self.number)
