"""Compares the methods of several runs by what each predicted of the same test data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from polygraft.evaluate.contest import Contest, System, hold_contests
from polygraft.recipe.gold import load_gold
from polygraft.recipe.score import SCORES, load_labels
from polygraft.report.joining import call_methods, group_alike
from polygraft.report.methods import find_known

if TYPE_CHECKING:
    from polygraft.evaluate.gain import Labels
    from polygraft.report.joining import Run

T = TypeVar("T")


def hold_across(runs: Sequence[Run], folders: Sequence[Path]) -> tuple[Contest, ...]:
    """Compare every two methods of several runs in each test set whose data and predictions both runs have.

    Each counts under the condition that it is known by, and over the seeds that both have. Runs of before digests of
    the data were kept, and those whose folder lacks predictions, are left out.

    Args:
        runs: As their methods stand side by side.
        folders: Where runs are; each may have what any of them predicted.
    """
    names = call_methods(runs)
    keys = dict.fromkeys((r.task, r.source, r.metric) for run in runs for r in run.summary.results)
    contests: list[Contest] = []
    for task, source, metric in keys:
        for group in group_alike(runs, task=task, source=source, metric=metric):
            for language, digest in _list_tests(group, task, source).items():
                gold = _find_first(load_gold(folder, digest) for folder in folders)
                if gold is None:
                    continue
                predicted = _gather(group, names, folders, (task, source, metric), (language, digest))
                contests += hold_contests(
                    {system: _keep_whole(seeds, gold) for system, seeds in predicted.items()},
                    gold=gold,
                    metric=metric,
                    task=task,
                    language=language,
                    source=source,
                )
    return tuple(contests)


def _list_tests(runs: Iterable[Run], task: str, source: str) -> dict[str, str]:
    """Give the digest of each test of a task by language; all runs of a group that tell it have the same."""
    return {
        data.language: data.digest
        for run in runs
        for data in run.summary.data
        if (data.use, data.task, data.source) == ("test", task, source)
    }


def _gather(
    runs: Iterable[Run],
    names: Mapping[tuple[str, str], str],
    folders: Sequence[Path],
    key: tuple[str, str, str],
    test: tuple[str, str],
) -> dict[System, dict[int, Labels]]:
    """Give what each method predicted of a test set, seed by seed, under the condition that it is known by."""
    task, source, _ = key
    language, digest = test
    found: dict[System, dict[int, Labels]] = {}
    for run in runs:
        if _list_tests([run], task, source).get(language) != digest:
            continue
        own = [
            result
            for result in run.summary.results
            if (result.task, result.source, result.metric, result.language) == (*key, language)
        ]
        steps = {
            (step.method, step.seed): step.digest
            for step in reversed(run.summary.steps)
            if (step.kind, step.task, step.source) == ("evaluate", task, source)
        }
        for method in dict.fromkeys(result.method for result in own):
            results = [result for result in own if result.method == method]
            condition = find_known(results)[0].condition
            system = System(method=names[run.label, method], condition=condition)
            for seed in dict.fromkeys(result.seed for result in results):
                scored = steps.get((method, seed), "")
                labels = _find_first(load_labels(folder / SCORES, scored) for folder in folders)
                if labels is not None and condition in labels.get(language, {}):
                    found.setdefault(system, {})[seed] = labels[language][condition]
    return found


def _keep_whole(seeds: Mapping[int, Labels], gold: Labels) -> dict[int, Labels]:
    """Leave out what does not have a row for each sentence: such a file was spoiled."""
    return {seed: labels for seed, labels in seeds.items() if len(labels) == len(gold)}


def _find_first(items: Iterable[T | None]) -> T | None:
    return next((item for item in items if item is not None), None)
