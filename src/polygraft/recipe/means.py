"""Averages the scores of a run over its seeds, from what was predicted with each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polygraft.evaluate.contest import System
from polygraft.evaluate.gain import Labels
from polygraft.evaluate.result import SeedMean
from polygraft.evaluate.seeds import average_seeds
from polygraft.recipe.score import list_gold

if TYPE_CHECKING:
    from polygraft.recipe.score import Scored


def gather_means(scored: Sequence[Scored]) -> list[SeedMean]:
    """Average every method and condition over its seeds in each test set of each task.

    Args:
        scored: The scoring steps of all seeds; those whose labels were not kept are left out.
    """
    predicted: dict[tuple[str, str], dict[System, dict[int, Labels]]] = {}
    steps: dict[str, Scored] = {}
    for step in scored:
        name = step.job.task or ""
        if step.labels is None or not step.scores.results:
            continue
        steps.setdefault(name, step)
        for language, by_condition in step.labels.items():
            for condition, labels in by_condition.items():
                system = System(method=step.workshop.recipe.variant.method, condition=condition)
                seeds = predicted.setdefault((name, language), {}).setdefault(system, {})
                seeds[step.scores.results[0].seed] = labels
    means: list[SeedMean] = []
    for (name, language), systems in predicted.items():
        workshop = steps[name].workshop
        task = workshop.recipe.tasks[name]
        means += average_seeds(
            systems,
            gold=list_gold(workshop.corpus.read_examples(task, task.test[language])),
            metric=steps[name].scores.results[0].metric,
            task=task.task or name,
            language=language,
            source=task.source,
        )
    return means
