"""Compares the methods of a run by what each predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polygraft.evaluate.contest import Contest, hold_contests
from polygraft.recipe.predicted import gather_predicted

if TYPE_CHECKING:
    from polygraft.recipe.score import Scored


def gather_contests(scored: Sequence[Scored]) -> list[Contest]:
    """Compare every two methods in each test set of each task, each under the last of its conditions.

    Args:
        scored: The scoring steps of the run's variants that were done.
    """
    return [
        contest
        for test in gather_predicted(scored, headlines_only=True)
        for contest in test.compare(hold_contests)
    ]
