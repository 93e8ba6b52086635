"""Compares the methods of a run by what each predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polygraft.data.example import TaggedSentence
from polygraft.evaluate.contest import Contest, Labels, System, hold_contests
from polygraft.recipe.score import list_conditions, load_labels, load_scores

if TYPE_CHECKING:
    from pathlib import Path

    from polygraft.recipe.data import TaskData
    from polygraft.recipe.steps import Job
    from polygraft.recipe.workshop import Workshop


def gather_contests(scored: Sequence[tuple[Workshop, Job]], *, folder: Path) -> list[Contest]:
    """Compare every two methods in each test set of each task, each under the last of its conditions.

    Args:
        scored: The scoring steps of the run's variants.
        folder: Where their scores and predictions are.
    """
    predicted: dict[tuple[str, str], dict[System, dict[int, Labels]]] = {}
    metrics: dict[str, str] = {}
    tasks: dict[str, tuple[TaskData, Workshop]] = {}
    for workshop, job in scored:
        name, variant = job.task or "", workshop.recipe.variant
        labels, scores = load_labels(folder, job.digest), load_scores(folder, job.digest)
        if labels is None or scores is None or not scores.results:
            continue
        tasks[name] = workshop.recipe.tasks[name], workshop
        metrics[name] = scores.results[0].metric
        for language, by_condition in labels.items():
            condition = list(list_conditions(workshop.recipe, name, language))[-1]
            if condition in by_condition:
                system = System(method=variant.method, condition=condition)
                seeds = predicted.setdefault((name, language), {}).setdefault(system, {})
                seeds[workshop.recipe.seed] = by_condition[condition]
    contests: list[Contest] = []
    for (name, language), systems in predicted.items():
        task, workshop = tasks[name]
        contests += hold_contests(
            systems,
            gold=_read_gold(workshop, task, language),
            metric=metrics[name],
            task=task.task or name,
            language=language,
            source=task.source,
        )
    return contests


def _read_gold(workshop: Workshop, task: TaskData, language: str) -> Labels:
    examples = workshop.corpus.read_examples(task, task.test[language])
    return [item.tags if isinstance(item, TaggedSentence) else (item.label,) for item in examples]
