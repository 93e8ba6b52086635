"""How methods compare that were scored on the same sentences with the same seeds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polygraft.errors import DataError
from polygraft.evaluate.bootstrap import find_ends, find_p_value, resample
from polygraft.evaluate.gain import Count, Labels, find_scoring

LEVEL = 0.05
"""A p-value below this, corrected for the number of questions, rules out that other sentences turn a difference."""


@dataclass(frozen=True, kw_only=True)
class System:
    """What was scored: a method under one of its conditions."""

    method: str
    condition: str


@dataclass(frozen=True, kw_only=True)
class Contest:
    """The difference of two methods on one test set: the mean over their seeds, with a paired bootstrap.

    The sentences are drawn again for all seeds of both methods alike, so that the interval tells how the difference of
    the means would move with other sentences. How it moves with other seeds, the seeds' own differences tell.
    """

    task: str
    language: str
    source: str
    """The language of the labels that were learned."""
    metric: str
    method: str
    condition: str
    other_method: str
    other_condition: str
    gain: float
    """The first one's mean score minus the other's, between -1 and 1."""
    low: float
    """Lower end of the gain's 95 % interval over sentences."""
    high: float
    """Upper end of it."""
    p_value: float
    """Two-sided: how often other sentences would give a gain of the other sign, or none; of this pair alone."""
    by_seed: Mapping[str, float]
    """The gain of each seed."""

    @property
    def is_same_way(self) -> bool:
        """Whether the gain has the same sign with every seed; one seed alone has nothing to disagree with."""
        gains = self.by_seed.values()
        return len(gains) < 2 or all(gain > 0 for gain in gains) or all(gain < 0 for gain in gains)


def is_clear(contest: Contest, *, p_value: float) -> bool:
    """Whether a difference is clear: neither other sentences nor another of the seeds would turn it.

    The seeds are too few to draw them again, as the sentences are; that each of them gives the same sign is the least
    that can be asked.

    Args:
        contest: The difference.
        p_value: That of the contest, corrected for the number of contests that are looked at together.
    """
    return p_value < LEVEL and contest.is_same_way


def hold_contests(
    predicted: Mapping[System, Mapping[int, Labels]],
    *,
    gold: Labels,
    metric: str,
    task: str,
    language: str,
    source: str,
    num_samples: int = 1000,
) -> list[Contest]:
    """Compare every two systems on one test set, over the seeds that both have.

    Args:
        predicted: The labels that each gave with each seed, a row a sentence.
        gold: The right ones.
        metric: "f1" of entities, or "accuracy".
        task: Names the task.
        language: The test set's.
        source: The training labels' language.
        num_samples: How often all sentences are drawn.

    Raises:
        DataError: A system has not as many rows as there are sentences.
    """
    scores = draw_scores(predicted, gold=gold, metric=metric, num_samples=num_samples)
    contests: list[Contest] = []
    for first, other in itertools.combinations(predicted, 2):
        seeds = [seed for seed in predicted[first] if seed in predicted[other]]
        if not seeds:
            continue
        pairs = {str(seed): (scores[first, seed], scores[other, seed]) for seed in seeds}
        gains = {seed: one.whole - two.whole for seed, (one, two) in pairs.items()}
        differences = np.mean([one.drawn - two.drawn for one, two in pairs.values()], axis=0)
        low, high = find_ends(differences)
        contests.append(
            Contest(
                task=task,
                language=language,
                source=source,
                metric=metric,
                method=first.method,
                condition=first.condition,
                other_method=other.method,
                other_condition=other.condition,
                gain=sum(gains.values()) / len(gains),
                low=low,
                high=high,
                p_value=find_p_value(differences),
                by_seed=gains,
            )
        )
    return contests


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A score on a test set, and on the same draws of its sentences as others."""

    whole: float
    drawn: NDArray[np.float64]
    """One score a draw."""


def draw_scores(
    predicted: Mapping[System, Mapping[int, Labels]], *, gold: Labels, metric: str, num_samples: int
) -> dict[tuple[System, int], Drawn]:
    """Score every system and seed on draws of the sentences that are the same for all.

    Args:
        predicted: The labels that each gave with each seed, a row a sentence.
        gold: The right ones.
        metric: "f1" of entities, or "accuracy".
        num_samples: How often all sentences are drawn.

    Raises:
        DataError: A system has not as many rows as there are sentences.
    """
    count, score = find_scoring(metric)
    runs = [(system, seed) for system, seeds in predicted.items() for seed in seeds]
    counts = [_count(count, gold, predicted[system][seed], system) for system, seed in runs]
    if not counts:
        return {}
    width = counts[0].shape[1]
    sums = resample(np.concatenate(counts, axis=1), num_samples=num_samples, seed=0)
    return {
        run: Drawn(
            whole=float(score(own.sum(axis=0, dtype=np.float64)[None])[0]),
            drawn=score(sums[:, place * width : (place + 1) * width]),
        )
        for place, (run, own) in enumerate(zip(runs, counts, strict=True))
    }


def _count(count: Count, gold: Labels, predicted: Labels, system: System) -> NDArray[np.int64]:
    if len(predicted) != len(gold):
        raise DataError(
            f"The method '{system.method}' has labels for {len(predicted)} sentences of a test set of {len(gold)}. "
            "Expected one row a sentence. Score it again."
        )
    return count(gold, predicted)
