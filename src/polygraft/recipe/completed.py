"""Scores as an older version kept them, with what a newer one tells besides; and under the names that hold now."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from polygraft.recipe.controls import NEAREST
from polygraft.recipe.gains import compare_conditions, list_pairs
from polygraft.recipe.names import show_task
from polygraft.recipe.packing import list_below
from polygraft.recipe.score import find_overlap, list_gold, load_labels, save_scores

if TYPE_CHECKING:
    from pathlib import Path

    from polygraft.evaluate.gain import Gain
    from polygraft.evaluate.overlap import Overlap
    from polygraft.evaluate.result import Result
    from polygraft.recipe.schema import Recipe
    from polygraft.recipe.score import LabelsByTest, Scores
    from polygraft.recipe.steps import Job
    from polygraft.recipe.workshop import Workshop


def complete_scores(workshop: Workshop, job: Job, scores: Scores, *, folder: Path) -> Scores:
    """Add what kept scores lack: comparisons of conditions, of what was predicted, and overlaps with texts.

    Nothing is scored again. What was added is kept as well.

    Args:
        workshop: What the steps of the variant share.
        job: The scoring step.
        scores: What it gave.
        folder: Where that and the predictions are.
    """
    tests = _sort_tests(scores.results)
    compared = {gain.language for gain in scores.gains}
    told = {overlap.language for overlap in scores.overlaps}
    untold = [language for language, found in tests.items() if list_pairs(found) and language not in compared]
    unmeasured = [language for language, found in tests.items() if NEAREST in found and language not in told]
    labels = load_labels(folder, job.digest) if untold else None
    gains = () if labels is None else _compare(workshop, job, tests, untold, labels)
    overlaps = _measure(workshop, job, unmeasured)
    if not gains and not overlaps:
        return scores
    whole = dataclasses.replace(
        scores,
        gains=tuple(_order([*scores.gains, *gains], list(tests))),
        overlaps=(*scores.overlaps, *overlaps),
    )
    save_scores(folder, job.digest, whole)
    return whole


def name_scores(recipe: Recipe, job: Job, scores: Scores) -> Scores:
    """Say of scores by which method they came about and what the recipe calls the tasks now.

    What is kept of them may serve several methods, and a task may have been renamed since.

    Args:
        recipe: The variant.
        job: The scoring step.
        scores: What it gave, now or before.
    """
    method, last = recipe.variant.method, cast("str", job.task)
    if job.kind == "recheck":
        # Each task before the last one has a score for each of its tests, in the order in which they were learned.
        names = [
            show_task(recipe.tasks, name)
            for name in list_below(recipe, last)
            for _ in recipe.tasks[name].test
        ]
    else:
        names = [show_task(recipe.tasks, last)] * len(scores.results)
    called = show_task(recipe.tasks, last)
    return dataclasses.replace(
        scores,
        results=tuple(
            dataclasses.replace(result, method=method, task=name)
            for result, name in zip(scores.results, names, strict=True)
        ),
        gains=tuple(dataclasses.replace(gain, method=method, task=called) for gain in scores.gains),
        overlaps=tuple(dataclasses.replace(overlap, task=called) for overlap in scores.overlaps),
        examples=tuple(
            dataclasses.replace(example, method=method, task=called) for example in scores.examples
        ),
    )


def _sort_tests(results: Iterable[Result]) -> dict[str, dict[str, Result]]:
    tests: dict[str, dict[str, Result]] = {}
    for result in results:
        tests.setdefault(result.language, {})[result.condition] = result
    return tests


def _compare(
    workshop: Workshop,
    job: Job,
    tests: dict[str, dict[str, Result]],
    languages: Iterable[str],
    labels: LabelsByTest,
) -> list[Gain]:
    task = workshop.recipe.tasks[cast("str", job.task)]
    gains: list[Gain] = []
    for language in languages:
        gold = list_gold(workshop.corpus.read_examples(task, task.test[language]))
        gains += compare_conditions(gold, tests[language], labels.get(language, {}))
    return gains


def _measure(workshop: Workshop, job: Job, languages: Iterable[str]) -> list[Overlap]:
    found = [find_overlap(workshop, cast("str", job.task), language) for language in languages]
    return [overlap for overlap in found if overlap is not None]


def _order(gains: Iterable[Gain], languages: list[str]) -> list[Gain]:
    """Put gains into the order of the tests, as if all had been compared at once."""
    return sorted(gains, key=lambda gain: languages.index(gain.language))
