"""The mean of a score over seeds, and how far it would move with other test sentences."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from polygraft.evaluate.bootstrap import find_ends
from polygraft.evaluate.contest import System, draw_scores
from polygraft.evaluate.deviation import standard_deviation
from polygraft.evaluate.gain import Labels
from polygraft.evaluate.result import SeedMean


def average_seeds(
    predicted: Mapping[System, Mapping[int, Labels]],
    *,
    gold: Labels,
    metric: str,
    task: str,
    language: str,
    source: str,
    num_samples: int = 1000,
) -> list[SeedMean]:
    """Average each system over its seeds on one test set, with the interval of the mean; one seed alone has no mean.

    The same sentences are drawn again for all seeds of all systems, as in `hold_contests`.

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
    several = {system: seeds for system, seeds in predicted.items() if len(seeds) > 1}
    scores = draw_scores(several, gold=gold, metric=metric, num_samples=num_samples)
    means: list[SeedMean] = []
    for system, seeds in several.items():
        own = [scores[system, seed] for seed in seeds]
        whole = [each.whole for each in own]
        low, high = find_ends(np.mean([each.drawn for each in own], axis=0))
        means.append(
            SeedMean(
                task=task,
                language=language,
                source=source,
                metric=metric,
                method=system.method,
                condition=system.condition,
                seeds=tuple(seeds),
                score=sum(whole) / len(whole),
                deviation=standard_deviation(whole),
                low=low,
                high=high,
            )
        )
    return means
