"""Methods that several runs have alike but for the seed: they are one method, with the seeds of all of these runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from polygraft.evaluate.gain import Gain
from polygraft.evaluate.result import Result
from polygraft.report.joining import Run, tell_apart
from polygraft.report.summary import GraftSummary, RunSummary
from polygraft.report.words import join_words

_NAMES = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Runs as their methods stand side by side, and what was put together."""

    runs: tuple[Run, ...]
    """As many as were given; one all of whose methods stand with those of another run has no results left."""
    sentences: tuple[str, ...]
    """Which methods stand together."""

    @property
    def shown(self) -> tuple[Run, ...]:
        """Those that have results."""
        return tuple(run for run in self.runs if run.summary.results)


def join_seeds(runs: Sequence[Run]) -> Joined:
    """Put the seeds of a method that several runs have together, with the first of these runs.

    It is one method where base, test data and settings are the same, which the digests of the steps without their
    seeds say. A seed that two runs have is shown once, and only where both have the same grafts of it: else the
    methods stay apart. Runs of before digests were kept stay as they are.

    Args:
        runs: In the order in which they are shown.
    """
    joined = list(runs)
    sentences: list[str] = []
    for place, run in enumerate(runs):
        for method in dict.fromkeys(result.method for result in run.summary.results):
            for earlier in range(place):
                same = _find_same(joined[earlier], run, method)
                if same is None:
                    continue
                joined[earlier] = _take(joined[earlier], run, method, called=same, number=place + 1)
                joined[place] = _leave(joined[place], method)
                if not joined[place].summary.results:
                    joined[earlier] = _add_time(joined[earlier], run)
                sentences.append(_tell(joined[earlier], run, method, called=same))
                break
    return Joined(runs=tuple(joined), sentences=tuple(sentences))


def _find_same(first: Run, other: Run, method: str) -> str | None:
    """Give the method of the first run that a method of the other one is, or None."""
    wanted = list_families(other.summary, method)
    for name in dict.fromkeys(result.method for result in first.summary.results):
        found = list_families(first.summary, name)
        shared = found.keys() & wanted.keys()
        tasks = {task for task, _ in shared}
        if (
            shared
            and found.keys() == wanted.keys()
            and all(found[key] == wanted[key] for key in shared)
            and all(tell_apart(first, other, task=task) is None for task in tasks)
            and _agree(first.summary, name, other.summary, method)
        ):
            return name
    return None


def list_families(summary: RunSummary, method: str) -> dict[tuple[str, str], frozenset[str]]:
    """Give the digests without their seeds of the steps that train a method, by task and source.

    Args:
        summary: A run.
        method: One of its methods.
    """
    families: dict[tuple[str, str], frozenset[str]] = {}
    for step in summary.steps:
        if step.kind == "task" and step.family and step.method == method:
            key = (step.task, step.source)
            families[key] = families.get(key, frozenset()) | {step.family}
    return families


def _agree(first: RunSummary, name: str, other: RunSummary, method: str) -> bool:
    """Whether what both runs have of a method is the same: the grafts of each seed, and what was predicted."""
    mine, theirs = _list_grafts(first, name), _list_grafts(other, method)
    if any(mine[key] != theirs[key] for key in mine.keys() & theirs.keys()):
        return False
    known = {_place(result): result.predictions for result in first.results if result.method == name}
    return all(
        known.get(_place(result), result.predictions) == result.predictions
        for result in other.results
        if result.method == method
    )


def _list_grafts(
    summary: RunSummary, method: str
) -> dict[tuple[str | None, str | None, int | None], set[str]]:
    """Give the sha256 of the grafts of tasks by task, source and seed."""
    found: dict[tuple[str | None, str | None, int | None], set[str]] = {}
    for graft in summary.grafts:
        if graft.role == "task" and graft.method == method:
            found.setdefault((graft.task, graft.language, graft.seed), set()).add(graft.sha256 or "")
    return found


def _place(result: Result) -> tuple[str, str, str, str, int]:
    return (result.task, result.source, result.language, result.condition, result.seed)


def _place_gain(gain: Gain) -> tuple[str, str, str, str, str, int]:
    return (gain.task, gain.source, gain.language, gain.condition, gain.other, gain.seed)


def _take(first: Run, other: Run, method: str, *, called: str, number: int) -> Run:
    """Give a run that has what another one knows of a method besides."""
    known = {_place(result) for result in first.summary.results if result.method == called}
    names = {graft.name: f"run-{number}.{graft.name}" for graft in other.summary.grafts}
    results = [
        replace(result, method=called, plan=_rename(result.plan, names))
        for result in other.summary.results
        if result.method == method and _place(result) not in known
    ]
    measured = {_place_gain(gain) for gain in first.summary.gains if gain.method == called}
    gains = [
        replace(gain, method=called)
        for gain in other.summary.gains
        if gain.method == method and _place_gain(gain) not in measured
    ]
    used = {name for result in results for name in _NAMES.findall(result.plan)}
    grafts = [_rename_graft(graft, names, called=called, method=method) for graft in other.summary.grafts]
    steps = [replace(step, method=called) for step in other.summary.steps if step.method == method]
    summary = first.summary
    return replace(
        first,
        summary=replace(
            summary,
            results=(*summary.results, *results),
            gains=(*summary.gains, *gains),
            grafts=(*summary.grafts, *(graft for graft in grafts if graft.name in used)),
            steps=(*summary.steps, *steps),
        ),
    )


def _rename(plan: str, names: Mapping[str, str]) -> str:
    return _NAMES.sub(lambda match: names.get(match.group(), match.group()), plan)


def _rename_graft(graft: GraftSummary, names: Mapping[str, str], *, called: str, method: str) -> GraftSummary:
    """Give a graft under a name that no other run has."""
    return replace(
        graft,
        name=names[graft.name],
        after=None if graft.after is None else names.get(graft.after, graft.after),
        method=called if graft.role == "task" and graft.method == method else graft.method,
    )


def _leave(run: Run, method: str) -> Run:
    results = tuple(result for result in run.summary.results if result.method != method)
    gains = tuple(gain for gain in run.summary.gains if gain.method != method)
    return replace(run, summary=replace(run.summary, results=results, gains=gains))


def _add_time(run: Run, other: Run) -> Run:
    seconds = run.summary.seconds + other.summary.seconds
    return replace(run, summary=replace(run.summary, seconds=seconds))


def _tell(joined: Run, other: Run, method: str, *, called: str) -> str:
    seeds = _list_seeds(other, method)
    every = _list_seeds(joined, called)
    own = f"\u2018{method}\u2019 of \u2018{other.label}\u2019" if method else f"\u2018{other.label}\u2019"
    same = f"\u2018{called}\u2019 of \u2018{joined.label}\u2019" if called else f"\u2018{joined.label}\u2019"
    noun = "seed" if len(seeds) == 1 else "seeds"
    return (
        f"{own} ({noun} {join_words(seeds)}) is the same method as {same}: they stand in one row, with the seeds "
        f"{join_words(every)}."
    )


def _list_seeds(run: Run, method: str) -> list[str]:
    return list(map(str, sorted({result.seed for result in run.summary.results if result.method == method})))
