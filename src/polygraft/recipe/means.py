"""Averages the scores of a run over its seeds, from what was predicted with each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polygraft.evaluate.seeds import average_seeds
from polygraft.recipe.predicted import gather_predicted

if TYPE_CHECKING:
    from polygraft.evaluate.result import SeedMean
    from polygraft.recipe.score import Scored


def gather_means(scored: Sequence[Scored]) -> list[SeedMean]:
    """Average every method and condition over its seeds in each test set of each task.

    Args:
        scored: The scoring steps of all seeds; those whose labels were not kept are left out.
    """
    return [
        mean
        for test in gather_predicted(scored, headlines_only=False)
        for mean in test.compare(average_seeds)
    ]
