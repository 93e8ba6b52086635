"""Several trainings as one: where they are together, for a bar."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polygraft.train.step import Step


class GatheredSteps:
    """The last updates of trainings that go on side by side, as one step of all of them.

    Args:
        count: Number of trainings.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.last: dict[str, Step] = {}
        self.scores: dict[str, float] = {}

    def add(self, name: str, step: Step) -> Step:
        """Take in what one training told, and give where all are.

        Returns:
            A step whose number, total, tokens and seconds are sums over the trainings, and whose loss and held-out
            score are means of the last ones. A training that has told nothing yet is expected to be as long as this.
        """
        self.last[name] = step
        if step.held_out is not None:
            self.scores[name] = step.held_out
        steps = self.last.values()
        return replace(
            step,
            number=sum(each.number for each in steps),
            total=sum(each.total for each in steps) + (self.count - len(steps)) * step.total,
            loss=statistics.fmean(each.loss for each in steps),
            tokens=sum(each.tokens for each in steps),
            seconds=sum(each.seconds for each in steps),
            held_out=statistics.fmean(self.scores.values()) if self.scores else None,
        )

    def end(self, name: str) -> None:
        """Take in that one training has ended, maybe early; one that was done before is not waited for."""
        if name in self.last:
            self.last[name] = replace(self.last[name], total=self.last[name].number)
        else:
            self.count -= 1
