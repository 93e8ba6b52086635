"""Runs that are shown together: which of them can stand in one table, and how their methods are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from polygraft.report.languages import language_name
from polygraft.report.scores import find_empty, find_source, list_sources, name_test
from polygraft.report.summary import RunSummary


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run, and what it is called among others."""

    label: str
    summary: RunSummary


def fill_sources(run: Run) -> Run:
    """Give a run whose results say from which language's labels they were learned, where an older one left it out."""
    summary = run.summary
    found = {r.task: find_source(summary, task=r.task) or "" for r in summary.results if not r.source}
    results = tuple(replace(r, source=r.source or found[r.task]) for r in summary.results)
    return replace(run, summary=replace(summary, results=results))


def call_methods(runs: Sequence[Run]) -> dict[tuple[str, str], str]:
    """Name the methods of each run, by the run's label and the method.

    Where two runs have a method of one name, the run stands in front. The one method of a run that compares none is
    called by the run.
    """
    methods = {run.label: dict.fromkeys(result.method for result in run.summary.results) for run in runs}
    counts = Counter(method for found in methods.values() for method in found)
    return {
        (label, method): label if not method else f"{label}: {method}" if counts[method] > 1 else method
        for label, found in methods.items()
        for method in found
    }


def group_alike(runs: Sequence[Run], *, task: str, source: str, metric: str) -> list[list[Run]]:
    """Put the runs that have a task into groups, each of which can stand in one table: same base, same test sets."""
    key = (task, source, metric)
    groups: list[list[Run]] = []
    for run in runs:
        if key not in {(r.task, r.source, r.metric) for r in run.summary.results}:
            continue
        fitting = (
            group for group in groups if all(tell_apart(each, run, task=task) is None for each in group)
        )
        found = next(fitting, None)
        if found is None:
            groups.append([run])
        else:
            found.append(run)
    return groups


def list_differences(runs: Sequence[Run]) -> tuple[str, ...]:
    """Say why runs stand in tables of their own; nothing where all stand in one."""
    sentences: dict[str, None] = {}
    keys = dict.fromkeys((r.task, r.source, r.metric) for run in runs for r in run.summary.results)
    sources = list_sources(result for run in runs for result in run.summary.results)
    for task, source, metric in keys:
        groups = group_alike(runs, task=task, source=source, metric=metric)
        for group in groups[1:]:
            reason = tell_apart(groups[0][0], group[0], task=task)
            title = name_test(task, source, sources=sources)
            names = ", ".join(f"\u2018{run.label}\u2019" for run in group)
            sentences[
                f"{names} and \u2018{groups[0][0].label}\u2019 are not in one table of {title}: {reason}."
            ] = None
    return tuple(sentences)


def list_empty(runs: Sequence[Run]) -> tuple[str, ...]:
    """Say which test sets have nothing to find; nothing where all have something."""
    places: dict[str, None] = {}
    for run in runs:
        for task in dict.fromkeys(result.task for result in run.summary.results):
            for language in find_empty(r for r in run.summary.results if r.task == task):
                places[f"{task} in {language_name(language)}"] = None
    if not places:
        return ()
    return (f"Left out of means and comparisons, as there is nothing to find: {', '.join(places)}.",)


def tell_apart(first: Run, other: Run, *, task: str) -> str | None:
    """Say why two runs cannot stand in one table of a task; None where they can."""
    one, two = first.summary.base, other.summary.base
    if one.fingerprint != two.fingerprint:
        return (
            f"the base of \u2018{first.label}\u2019 is {one.name} ({one.fingerprint[:8]}), that of "
            f"\u2018{other.label}\u2019 is {two.name} ({two.fingerprint[:8]})"
        )
    ours, others = _digest_tests(first, task), _digest_tests(other, task)
    for language in ours:
        if ours[language] != others.get(language, ours[language]):
            return (
                f"the {language_name(language)} test set of \u2018{first.label}\u2019 "
                f"({ours[language][:8]}) has other data than that of \u2018{other.label}\u2019 "
                f"({others[language][:8]})"
            )
    mine, theirs = _count_tests(first, task), _count_tests(other, task)
    for language in mine:
        if mine[language] != theirs.get(language, mine[language]):
            return (
                f"the {language_name(language)} test set has {_say(mine[language])} in \u2018{first.label}\u2019 and "
                f"{_say(theirs[language])} in \u2018{other.label}\u2019"
            )
    return None


def _count_tests(run: Run, task: str) -> dict[str, tuple[int, int]]:
    """Give the sentences and gold items of a task's test sets, by language."""
    return {r.language: (r.num_sentences, r.num_gold) for r in run.summary.results if r.task == task}


def _digest_tests(run: Run, task: str) -> dict[str, str]:
    """Give the digests of a task's test sets, by language; none of an older run."""
    return {
        data.language: data.digest for data in run.summary.data if (data.use, data.task) == ("test", task)
    }


def _say(counts: tuple[int, int]) -> str:
    return f"{counts[0]:,} sentences with {counts[1]:,} gold items"
