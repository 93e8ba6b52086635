"""Compares the methods of a run by what each predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polygraft.evaluate.contest import Contest, System, hold_contests
from polygraft.evaluate.gain import Labels
from polygraft.recipe.score import find_headline, list_gold

if TYPE_CHECKING:
    from polygraft.recipe.data import TaskData
    from polygraft.recipe.score import Scored
    from polygraft.recipe.workshop import Workshop


def gather_contests(scored: Sequence[Scored]) -> list[Contest]:
    """Compare every two methods in each test set of each task, each under the last of its conditions.

    Args:
        scored: The scoring steps of the run's variants that were done.
    """
    predicted: dict[tuple[str, str], dict[System, dict[int, Labels]]] = {}
    metrics: dict[str, str] = {}
    tasks: dict[str, tuple[TaskData, Workshop]] = {}
    for step in scored:
        workshop, name = step.workshop, step.job.task or ""
        if step.labels is None or not step.scores.results:
            continue
        tasks[name] = workshop.recipe.tasks[name], workshop
        metrics[name] = step.scores.results[0].metric
        for language, by_condition in step.labels.items():
            condition, _ = find_headline(workshop.recipe, name, language)
            if condition in by_condition:
                system = System(method=workshop.recipe.variant.method, condition=condition)
                seeds = predicted.setdefault((name, language), {}).setdefault(system, {})
                seeds[workshop.recipe.seed] = by_condition[condition]
    contests: list[Contest] = []
    for (name, language), systems in predicted.items():
        task, workshop = tasks[name]
        contests += hold_contests(
            systems,
            gold=list_gold(workshop.corpus.read_examples(task, task.test[language])),
            metric=metrics[name],
            task=task.task or name,
            language=language,
            source=task.source,
        )
    return contests
