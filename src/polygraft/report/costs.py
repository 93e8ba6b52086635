"""What a method costs in a task: to learn it, to keep it, and to use it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from polygraft.evaluate.result import Result
from polygraft.report.summary import GraftSummary, RunSummary

_NAMES = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, kw_only=True)
class MethodCost:
    """What one method cost in one task; means over the seeds."""

    is_copy: bool
    """Whether it makes a full copy of the base."""
    goes_on: bool
    """Whether one copy learns all tasks, one after the other."""
    num_parameters: float
    """Trained for the task; those of language grafts come on top."""
    num_bytes: float
    """Stored for the task: its graft or its copy. Language grafts, which all tasks share, come on top."""
    total_bytes: float
    """Stored for all tasks of the run in all languages: the base once, with every graft; or every copy."""
    num_served: int
    """N: pairs of a task and a language that were scored in the run."""
    seconds: float
    """Training of the task."""
    tokens_per_second: float
    """While it was trained."""
    peak_memory_above_start_bytes: int | None
    """The most that training took on top of what was there at its start, of all seeds."""
    seconds_per_sentence: float | None
    """Time of a prediction."""
    num_languages: float
    """Language grafts that are used."""
    language_parameters: float
    """Trained for each of them."""
    language_bytes: float
    """Stored for each of them."""
    language_seconds: float
    """Training of all of them."""


def measure_cost(summary: RunSummary, own: Sequence[Result], served: Sequence[Result]) -> MethodCost | None:
    """Say what a method cost in a task; None where the run knows no graft of it.

    Args:
        summary: The run.
        own: The method's scores in the task, under the conditions that are shown.
        served: Its scores in all tasks of the run.
    """
    grafts = {graft.name: graft for graft in summary.grafts}
    task, source = own[0].task, own[0].source
    seeds = list(dict.fromkeys(result.seed for result in own))
    learned = [
        graft
        for seed in seeds
        for graft in _find(grafts, own, seed=seed, role="task")
        if graft.task in (None, task) and (source in ("", graft.language) or graft.language is None)
    ]
    if not learned:
        return None
    languages = [graft for seed in seeds for graft in _find(grafts, served, seed=seed, role="language")]
    totals = [_add_up(summary, grafts, served, seed=seed) for seed in seeds]
    peaks = [graft.peak_memory_above_start_bytes for graft in learned]
    num_sentences = sum(result.num_sentences for result in own)
    pairs = {(result.task, result.source, result.language) for result in summary.results}
    return MethodCost(
        is_copy=learned[0].is_copy,
        goes_on=_goes_on(grafts.values(), learned[0].method),
        num_parameters=_mean([graft.num_parameters for graft in learned]),
        num_bytes=_mean([graft.num_bytes for graft in learned]),
        total_bytes=_mean(totals),
        num_served=len(pairs),
        seconds=_mean([graft.seconds for graft in learned]),
        tokens_per_second=_mean([graft.tokens_per_second for graft in learned]),
        peak_memory_above_start_bytes=max((peak for peak in peaks if peak is not None), default=None),
        seconds_per_sentence=sum(result.seconds for result in own) / num_sentences if num_sentences else None,
        num_languages=len(languages) / len(seeds),
        language_parameters=_mean([graft.num_parameters for graft in languages]),
        language_bytes=_mean([graft.num_bytes for graft in languages]),
        language_seconds=sum(graft.seconds for graft in languages) / len(seeds),
    )


def _find(
    grafts: dict[str, GraftSummary], results: Iterable[Result], *, seed: int, role: str
) -> list[GraftSummary]:
    """Give the grafts of a role that the plans of a seed's results name, each once."""
    names = dict.fromkeys(
        name for result in results if result.seed == seed for name in _NAMES.findall(result.plan)
    )
    return [grafts[name] for name in names if name in grafts and grafts[name].role == role]


def _add_up(
    summary: RunSummary, grafts: dict[str, GraftSummary], served: Sequence[Result], *, seed: int
) -> float:
    """Give the bytes that have to be kept to serve all tasks in all languages."""
    tasks = _find(grafts, served, seed=seed, role="task")
    sizes = [graft.num_bytes for graft in tasks]
    if not any(graft.is_copy for graft in tasks):
        languages = _find(grafts, served, seed=seed, role="language")
        return summary.base.num_bytes + sum(sizes) + sum(graft.num_bytes for graft in languages)
    return max(sizes) if any(graft.after is not None for graft in tasks) else sum(sizes)


def _goes_on(grafts: Iterable[GraftSummary], method: str) -> bool:
    return any(graft.after is not None and graft.method == method for graft in grafts)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
