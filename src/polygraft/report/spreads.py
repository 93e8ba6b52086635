"""Scores with how far each may be off: over seeds, and over sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from polygraft.evaluate.deviation import standard_deviation
from polygraft.evaluate.result import Place, Result, SeedMean, find_place
from polygraft.report.cells import format_interval
from polygraft.report.numbers import format_score


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A score, and how far it may be off."""

    score: float
    """The mean over the seeds."""
    deviation: float | None = None
    """Standard deviation over the seeds (n - 1), where there are several."""
    low: float | None = None
    """Lower end of the 95 % interval over sentences; of several seeds that of their mean, where it is known."""
    high: float | None = None
    """Upper end of it."""
    num_seeds: int

    @property
    def ends(self) -> tuple[float, float] | None:
        """From where to where it is drawn: one deviation to both sides, or the interval."""
        if self.deviation is not None:
            return self.score - self.deviation, self.score + self.deviation
        return None if self.low is None or self.high is None else (self.low, self.high)


def average(spreads: Sequence[Spread], by_seed: Sequence[Sequence[float]]) -> Spread:
    """Average scores over languages.

    The ends are those of a mean of independent scores, worked out from the scores' own ends (the square-and-add way,
    MOVER: Zou and Donner 2008); scores of other seeds than those of the mean have no ends for it.

    Args:
        spreads: The score of each language.
        by_seed: The scores of the languages, seed by seed.
    """
    means = [sum(scores) / len(scores) for scores in by_seed]
    score = sum(means) / len(means)
    deviation = standard_deviation(means) if len(means) > 1 else None
    ends = [
        (each.score - each.low, each.high - each.score)
        for each in spreads
        if each.low is not None and each.high is not None and each.num_seeds == len(means)
    ]
    if len(ends) < len(spreads):
        return Spread(score=score, deviation=deviation, num_seeds=len(means))
    below, above = (math.hypot(*sides) / len(ends) for sides in zip(*ends, strict=True))
    return Spread(
        score=score, deviation=deviation, low=score - below, high=score + above, num_seeds=len(means)
    )


def format_spread(spread: Spread, *, metric: str, between: str = ", ") -> str | None:
    """Write how far a score may be off: its deviation over the seeds, and its interval; None where neither is known.

    Args:
        spread: The score.
        metric: What it is.
        between: What stands between the two.
    """
    off = None if spread.deviation is None else f"\u00b1 {format_score(spread.deviation, metric=metric)}"
    words = [word for word in (off, format_interval(spread.low, spread.high, metric=metric)) if word]
    return between.join(words) or None


MeansByPlace = Mapping[Place, SeedMean]
"""Means over seeds by what `find_place` gives."""


def index_means(means: Sequence[SeedMean]) -> MeansByPlace:
    """Put means where they can be found by what they are of."""
    return {find_place(each): each for each in means}


def find_mean(means: MeansByPlace, results: Sequence[Result]) -> SeedMean | None:
    """Give the mean of results that differ in their seed alone; None where that of just these seeds is not known."""
    found = means.get(find_place(results[0]))
    return found if found is not None and set(found.seeds) == {result.seed for result in results} else None
