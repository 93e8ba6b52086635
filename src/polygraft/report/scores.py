"""Results laid out by language and condition, and how the conditions compare."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from polygraft.evaluate.deviation import standard_deviation
from polygraft.evaluate.gain import Gain
from polygraft.evaluate.result import Result
from polygraft.report.languages import language_name
from polygraft.report.spreads import MeansByPlace, Spread, average, find_mean, index_means
from polygraft.report.summary import RunSummary

CONDITIONS = {
    "none": "the task graft, trained over language grafts, with no language graft under it",
    "task alone": "a task graft that was trained and is used without any language graft",
    "random": "the test language\u2019s own graft with the values of each tensor in random order: it knows nothing",
    "other": "the graft of a language that is neither the source nor the test\u2019s",
    "nearest": "the graft of the other language whose text is nearest to the test by its pieces",
    "average": "the mean of the parameters of the grafts of all languages but the test\u2019s",
    "drop-last": "the test language\u2019s own graft without its bottleneck in the last layer that has one",
    "no-invertible": "the test language\u2019s own graft without its invertible part",
    "source": "the source language\u2019s graft left under the task graft",
    "target": "the target language\u2019s own graft swapped in under the task graft",
}
"""The conditions that a transfer run compares, in the order in which they are shown."""
LESS_OF_TARGET = ("drop-last", "no-invertible")
"""Conditions under which a piece of the target's graft is there: no rivals of it."""
TARGET = "target"
BORROWED = ("other", "nearest", "average", "source")
"""Conditions under which grafts of other languages stand in for the test's own."""
WITHOUT = ("none", "task alone")
"""Conditions without any language graft."""


def describe_condition(name: str, plans: Iterable[str]) -> str:
    """Say what a condition is; nothing of one that is not known.

    Args:
        name: The condition.
        plans: The plans that were scored under it, as text.

    Example:
        >>> describe_condition("target", ["stack(average(qu, en), ner)"]).partition(",")[2]
        ' in a mean with the source’s'
    """
    meaning = CONDITIONS.get(name, "")
    is_mean = name != "average" and any("average(" in plan for plan in plans)
    return f"{meaning}, in a mean with the source\u2019s" if meaning and is_mean else meaning


@dataclass(frozen=True, kw_only=True)
class GridCell:
    """The score of one language under one condition, over all seeds."""

    score: float
    """The mean over the seeds."""
    low: float | None
    """Lower end of the score's 95 % interval; of several seeds, that of their mean where it was measured, else the
    lowest end of any."""
    high: float | None
    """Upper end of it."""
    num_seeds: int
    num_sentences: int
    num_gold: int
    deviation: float | None = None
    """Standard deviation over the seeds (n - 1), where there are several."""
    by_seed: Mapping[int, float] = field(default_factory=dict[int, float])
    """The score of each seed."""
    widest: tuple[float, float] | None = None
    """From the lowest to the highest end of the seeds' intervals."""
    is_widest: bool = False
    """Whether `low` and `high` are these, since the interval of the mean was not measured."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The scores of one task in one metric, by language and condition, or by language and method."""

    task: str
    metric: str
    title: str
    """The task, and what else tells it from the other grids of a report."""
    rows: str = "condition"
    """What `conditions` are, in a word."""
    languages: tuple[str, ...]
    conditions: tuple[str, ...]
    cells: Mapping[tuple[str, str], GridCell]
    source: str | None
    """The language whose labels the task was learned from, where that is known."""
    method: str = ""
    """The method whose conditions these are, where several are compared."""
    gains: tuple[Gain, ...] = ()
    """How conditions compare on the same sentences: the target's graft with others, or others' grafts with none."""
    empty: tuple[str, ...] = ()
    """Languages whose test set has nothing to find, so that its scores say nothing."""

    @property
    def targets(self) -> tuple[str, ...]:
        """The languages that the task was carried over to and that have something to find."""
        return tuple(
            language for language in self.languages if language != self.source and language not in self.empty
        )

    def better(self, first: float, second: float) -> float:
        """Give by how much the first score is better; negative where it is worse."""
        return second - first if self.metric == "loss" else first - second

    def best(self, language: str, *, without: Collection[str] = ()) -> str | None:
        """Name the condition that scores best in a language, the first of equals."""
        found: str | None = None
        for condition in self.conditions:
            cell = self.cells.get((language, condition))
            if cell is None or condition in without or not math.isfinite(cell.score):
                continue
            if found is None or self.better(cell.score, self.cells[language, found].score) > 0:
                found = condition
        return found

    def is_best(self, language: str, condition: str) -> bool:
        """Say whether a condition has a language's best score, alone or with others."""
        best = self.best(language)
        cell = self.cells.get((language, condition))
        return best is not None and cell is not None and cell.score == self.cells[language, best].score

    def mean(self, condition: str, *, languages: Sequence[str]) -> float | None:
        """Average a condition over languages, or give None where one of them has no score."""
        cells = [self.cells.get((language, condition)) for language in languages]
        scores = [cell.score for cell in cells if cell is not None]
        return sum(scores) / len(scores) if scores and len(scores) == len(cells) else None

    def spread(self, condition: str, *, languages: Sequence[str]) -> Spread | None:
        """Average a condition of several seeds over languages with how far the mean may be off; None with one seed."""
        cells = [
            self.cells[language, condition] for language in languages if (language, condition) in self.cells
        ]
        seeds = (
            [seed for seed in cells[0].by_seed if all(seed in cell.by_seed for cell in cells)]
            if cells
            else []
        )
        if len(seeds) < 2 or len(cells) < len(languages):
            return None
        spreads = [
            Spread(
                score=cell.score,
                low=None if cell.is_widest else cell.low,
                high=None if cell.is_widest else cell.high,
                num_seeds=cell.num_seeds,
            )
            for cell in cells
        ]
        return average(spreads, [[cell.by_seed[seed] for cell in cells] for seed in seeds])


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A condition, mostly the target's graft, against another one, in one language, over all seeds."""

    language: str
    other: str
    gain: float
    """Above zero where the condition is better than the other one."""
    low: float | None
    """Lowest end of the seeds' intervals of the gain, None where it was not measured."""
    high: float | None
    """Highest end of these."""
    is_clear: bool | None
    """Whether chance is ruled out: every seed's gain lies on one side of zero with its whole interval, or,
    where the gain has no interval, the two scores' intervals are apart. None where nothing is known."""


def build_grids(summary: RunSummary) -> tuple[Grid, ...]:
    """Lay out a run's results, one grid for each task, source, metric and method, in the order they came."""
    groups: dict[tuple[str, str, str, str], list[Result]] = {}
    for result in summary.results:
        key = (result.task, result.source, result.metric, result.method)
        groups.setdefault(key, []).append(result)
    sources = list_sources(summary.results)
    means = index_means(summary.means)
    return tuple(
        _build_grid(
            results,
            means=means,
            title=name_test(task, source, sources=sources, method=method),
            source=source or find_source(summary, task=task),
            gains=[
                gain
                for gain in summary.gains
                if (gain.task, gain.metric, gain.method) == (task, metric, method)
                and gain.source in ("", source)
            ],
        )
        for (task, source, metric, method), results in groups.items()
    )


def list_sources(results: Iterable[Result]) -> dict[str, set[str]]:
    """List the languages from whose labels each task was learned."""
    sources: dict[str, set[str]] = {}
    for result in results:
        sources.setdefault(result.task, set()).add(result.source)
    return sources


def name_test(task: str, source: str, *, sources: Mapping[str, set[str]], method: str = "") -> str:
    """Call a task by its name, by its source where it has several, and by the method where there are some."""
    from_source = f" from {language_name(source)}" if source and len(sources.get(task, ())) > 1 else ""
    return f"{task}{from_source}{f' with {method}' if method else ''}"


def compare_target(grid: Grid) -> tuple[Comparison, ...]:
    """Compare the target's graft with the best other condition in every target language that has both."""
    bests = [
        (language, grid.best(language, without=("target", *LESS_OF_TARGET))) for language in grid.targets
    ]
    found = [compare(grid, language, other) for language, other in bests if other is not None]
    return tuple(comparison for comparison in found if comparison is not None)


def compare(grid: Grid, language: str, other: str, *, condition: str = TARGET) -> Comparison | None:
    """Compare two conditions in one language, or give None where one has no score.

    Args:
        grid: The scores.
        language: The test's.
        other: What is compared with.
        condition: What is looked at; the target's graft.
    """
    looked_at, against = grid.cells.get((language, condition)), grid.cells.get((language, other))
    if looked_at is None or against is None or not math.isfinite(looked_at.score):
        return None
    gains = [
        gain
        for gain in grid.gains
        if (gain.language, gain.condition, gain.other) == (language, condition, other)
    ]
    low = min((gain.low for gain in gains), default=None)
    high = max((gain.high for gain in gains), default=None)
    overlap = intervals_overlap(looked_at, against)
    apart = None if overlap is None else not overlap
    return Comparison(
        language=language,
        other=other,
        gain=grid.better(looked_at.score, against.score),
        low=low,
        high=high,
        is_clear=apart if low is None or high is None else low > 0 or high < 0,
    )


def intervals_overlap(first: GridCell, second: GridCell) -> bool | None:
    """Say whether two scores' intervals share a value with any of their seeds; None where one has no interval."""
    if first.widest is None or second.widest is None:
        return None
    return first.widest[0] <= second.widest[1] and second.widest[0] <= first.widest[1]


def find_source(summary: RunSummary, *, task: str) -> str | None:
    """Find the language that a task was learned from.

    It is the task graft's own language; else that of the language graft in the plan it was trained
    under; else the one language in which the source's and the target's graft are the same plan.
    """
    tasks = [graft for graft in summary.grafts if graft.role == "task"]
    named = [graft for graft in tasks if graft.name == task] or tasks
    for graft in named:
        if graft.language is not None:
            return graft.language
    for graft in named:
        words = re.findall(r"[A-Za-z0-9][A-Za-z0-9_.-]*", graft.plan or "")
        for other in summary.grafts:
            if other.role == "language" and other.name in words:
                return other.language
    plans = {(r.language, r.condition): r.plan for r in summary.results if r.task == task}
    same = [
        language
        for language, condition in plans
        if condition == "source" and plans.get((language, "target")) == plans[language, "source"]
    ]
    return same[0] if len(same) == 1 else None


def order_conditions(conditions: Iterable[str]) -> tuple[str, ...]:
    """Put the known conditions first, in their order, and the others as they came."""
    seen = tuple(dict.fromkeys(conditions))
    return (*(c for c in CONDITIONS if c in seen), *(c for c in seen if c not in CONDITIONS))


def _build_grid(
    results: Sequence[Result],
    *,
    title: str,
    source: str | None,
    gains: Sequence[Gain],
    means: MeansByPlace,
) -> Grid:
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.language, result.condition), []).append(result)
    languages = tuple(dict.fromkeys(result.language for result in results))
    return Grid(
        task=results[0].task,
        metric=results[0].metric,
        title=title,
        method=results[0].method,
        languages=tuple(sorted(languages, key=lambda language: language != source)),
        conditions=order_conditions(result.condition for result in results),
        cells={place: _join(group, means) for place, group in groups.items()},
        source=source if source in languages else None,
        gains=tuple(gains),
        empty=find_empty(results),
    )


def find_empty(results: Iterable[Result]) -> tuple[str, ...]:
    """Find the languages of a task's results whose test set has nothing to find."""
    has_gold: dict[str, bool] = {}
    for result in results:
        has_gold[result.language] = has_gold.get(result.language, False) or result.has_gold
    return tuple(language for language, found in has_gold.items() if not found)


def _join(results: Sequence[Result], means: MeansByPlace) -> GridCell:
    lows = [result.low for result in results if result.low is not None and math.isfinite(result.low)]
    highs = [result.high for result in results if result.high is not None and math.isfinite(result.high)]
    complete = len(lows) == len(highs) == len(results)
    widest = (min(lows), max(highs)) if complete else None
    mean = find_mean(means, results)
    ends = widest if mean is None else (mean.low, mean.high)
    by_seed = {result.seed: result.score for result in results}
    return GridCell(
        score=sum(result.score for result in results) / len(results),
        low=None if ends is None else ends[0],
        high=None if ends is None else ends[1],
        num_seeds=len(by_seed),
        num_sentences=results[0].num_sentences,
        num_gold=results[0].num_gold,
        deviation=standard_deviation(list(by_seed.values())) if len(by_seed) > 1 else None,
        by_seed=by_seed,
        widest=widest,
        is_widest=mean is None and len(by_seed) > 1,
    )
