"""Scores of several methods side by side: one grid for each task and source, with seeds, contests and costs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from polygraft.evaluate.contest import Contest
from polygraft.evaluate.deviation import standard_deviation
from polygraft.evaluate.result import Result
from polygraft.report.costs import MethodCost, measure_cost
from polygraft.report.held import settle_contests
from polygraft.report.joining import Run, call_methods, group_alike
from polygraft.report.scores import Grid, GridCell, find_empty, list_sources, name_test, order_conditions
from polygraft.report.spreads import MeansByPlace, Spread, average, find_mean, index_means

HEADLINES = ("none", "task alone", "source", "target")
"""Of the conditions that a method has in a language, the last of these is the one it is known by."""


@dataclass(frozen=True, kw_only=True)
class MethodRow:
    """The scores of one method under one condition, or under that it is known by."""

    method: str
    condition: str
    """Empty in the row that a method is known by, which may have another condition in each language."""
    cells: Mapping[str, Spread]
    """By language."""
    mean: Spread | None
    """Over the target languages; None where one of them has no score."""
    cost: MethodCost | None = None


@dataclass(frozen=True, kw_only=True)
class MethodGrid:
    """All methods in one task, learned from one language's labels, in one metric."""

    title: str
    task: str
    source: str
    metric: str
    languages: tuple[str, ...]
    """The source first."""
    rows: tuple[MethodRow, ...]
    """One a method, under the condition that it is known by."""
    conditions: Mapping[str, tuple[MethodRow, ...]]
    """Of each method that has several, a row a condition."""
    contests: tuple[Contest, ...]
    """How every two methods compare on the same sentences, where the predictions of both are known."""
    base_bytes: int
    """Size of one full copy of the base."""
    empty: tuple[str, ...] = ()
    """Languages whose test set has nothing to find, so that its scores say nothing."""

    @property
    def targets(self) -> tuple[str, ...]:
        """The languages that the mean is over: those without labels, or all where the source alone was tested."""
        return choose_targets(self.languages, source=self.source, empty=self.empty)

    def better(self, first: float, second: float) -> float:
        """Give by how much the first score is better; negative where it is worse."""
        return second - first if self.metric == "loss" else first - second

    def best(self, language: str) -> MethodRow | None:
        """Give the method that scores best in a language, the first of equals."""
        rows = [
            row for row in self.rows if language in row.cells and math.isfinite(row.cells[language].score)
        ]
        return max(rows, key=lambda row: self.better(row.cells[language].score, 0.0), default=None)

    def best_mean(self) -> MethodRow | None:
        """Give the method with the best mean over the target languages, the first of equals."""
        rows = [row for row in self.rows if row.mean is not None and math.isfinite(row.mean.score)]
        return max(rows, key=lambda row: self.better(row.mean.score if row.mean else 0.0, 0.0), default=None)

    def find_contest(self, language: str, method: str, other: str) -> Contest | None:
        """Give the comparison of two methods in a language, turned so that the first one comes first."""
        for contest in self.contests:
            pair = (contest.method, contest.other_method)
            if contest.language == language and pair == (method, other):
                return contest
            if contest.language == language and pair == (other, method):
                return turn(contest)
        return None


def build_method_grids(runs: Sequence[Run], *, held: Sequence[Contest] = ()) -> tuple[MethodGrid, ...]:
    """Lay the methods of one or several runs side by side, one grid for each task, source and metric.

    Runs that cannot stand in one table have grids of their own.

    Args:
        runs: What to lay out.
        held: Contests over all of these runs, under the names that methods have here; they stand for the runs' own.
    """
    names = call_methods(runs)
    keys = dict.fromkeys(
        (result.task, result.source, result.metric) for run in runs for result in run.summary.results
    )
    sources = list_sources(result for run in runs for result in run.summary.results)
    grids: list[MethodGrid] = []
    for task, source, metric in keys:
        groups = group_alike(runs, task=task, source=source, metric=metric)
        for group in groups:
            title = name_test(task, source, sources=sources)
            if len(groups) > 1:
                title += f" ({', '.join(run.label for run in group)})"
            grid = _build_grid(group, names, title=title, key=(task, source, metric))
            own = [row.method for row in grid.rows]
            contests = settle_contests(grid.contests, held, task=task, source=source, methods=own)
            grids.append(dataclasses.replace(grid, contests=contests))
    return tuple(grids)


def is_compared(runs: Sequence[Run]) -> bool:
    """Whether there are methods to lay side by side."""
    return len(runs) > 1 or any(result.method for run in runs for result in run.summary.results)


def as_grid(grid: MethodGrid) -> Grid:
    """Give the same scores as plots of conditions want them."""
    cells = {
        (language, row.method): GridCell(
            score=cell.score,
            low=cell.low,
            high=cell.high,
            deviation=cell.deviation,
            num_seeds=cell.num_seeds,
            num_sentences=0,
            num_gold=0,
        )
        for row in grid.rows
        for language, cell in row.cells.items()
        if language not in grid.empty
    }
    return Grid(
        task=grid.task,
        metric=grid.metric,
        title=grid.title,
        rows="method",
        languages=grid.languages,
        conditions=tuple(row.method for row in grid.rows),
        cells=cells,
        source=grid.source if grid.source in grid.languages else None,
        empty=grid.empty,
    )


def choose_targets(languages: Sequence[str], *, source: str, empty: Collection[str]) -> tuple[str, ...]:
    """Give the languages that a mean is over: the targets that have something to find, else all languages."""
    full = [language for language in languages if language not in empty]
    return tuple(language for language in full if language != source) or tuple(full) or tuple(languages)


def turn(contest: Contest) -> Contest:
    """Give a contest with its two methods in the other order."""
    return dataclasses.replace(
        contest,
        method=contest.other_method,
        condition=contest.other_condition,
        other_method=contest.method,
        other_condition=contest.condition,
        gain=-contest.gain,
        low=-contest.high,
        high=-contest.low,
        by_seed={seed: -gain for seed, gain in contest.by_seed.items()},
    )


def _build_grid(
    runs: Sequence[Run], names: Mapping[tuple[str, str], str], *, title: str, key: tuple[str, str, str]
) -> MethodGrid:
    task, source, metric = key
    languages = list(dict.fromkeys(r.language for run in runs for r in _select(run, key)))
    languages.sort(key=lambda language: language != source)
    empty = find_empty(result for run in runs for result in _select(run, key))
    targets = choose_targets(languages, source=source, empty=empty)
    rows: list[MethodRow] = []
    conditions: dict[str, tuple[MethodRow, ...]] = {}
    contests: list[Contest] = []
    for run in runs:
        means = index_means(run.summary.means)
        for method in dict.fromkeys(result.method for result in _select(run, key)):
            name = names[run.label, method]
            own = [result for result in _select(run, key) if result.method == method]
            shown = find_known(own)
            served = find_known([result for result in run.summary.results if result.method == method])
            cost = measure_cost(run.summary, shown, served)
            rows.append(_build_row(shown, name, targets=targets, means=means, cost=cost))
            kinds = order_conditions(result.condition for result in own)
            if len(kinds) > 1:
                conditions[name] = tuple(
                    _build_row(
                        [r for r in own if r.condition == kind],
                        name,
                        condition=kind,
                        targets=targets,
                        means=means,
                    )
                    for kind in kinds
                )
        contests += [
            dataclasses.replace(
                contest,
                method=names[run.label, contest.method],
                other_method=names[run.label, contest.other_method],
            )
            for contest in run.summary.contests
            if (contest.task, contest.source, contest.metric) == key
            and {(run.label, contest.method), (run.label, contest.other_method)} <= names.keys()
        ]
    return MethodGrid(
        title=title,
        task=task,
        source=source,
        metric=metric,
        languages=tuple(languages),
        rows=tuple(rows),
        conditions=conditions,
        contests=tuple(contests),
        base_bytes=runs[0].summary.base.num_bytes,
        empty=empty,
    )


def _select(run: Run, key: tuple[str, str, str]) -> list[Result]:
    return [result for result in run.summary.results if (result.task, result.source, result.metric) == key]


def find_known(results: Sequence[Result]) -> list[Result]:
    """Keep of each task, source and language the condition that a method is known by."""
    chosen: dict[tuple[str, str, str], str] = {}
    for result in results:
        place = (result.task, result.source, result.language)
        if place not in chosen or _rank(result.condition) > _rank(chosen[place]):
            chosen[place] = result.condition
    return [r for r in results if chosen[r.task, r.source, r.language] == r.condition]


def _rank(condition: str) -> int:
    return HEADLINES.index(condition) if condition in HEADLINES else -1


def _build_row(
    results: Sequence[Result],
    method: str,
    *,
    targets: Sequence[str],
    means: MeansByPlace,
    condition: str = "",
    cost: MethodCost | None = None,
) -> MethodRow:
    groups: dict[str, dict[int, Result]] = {}
    for result in results:
        groups.setdefault(result.language, {})[result.seed] = result
    cells = {language: _spread(list(by_seed.values()), means) for language, by_seed in groups.items()}
    present = [groups[language] for language in targets if language in groups]
    shared = [seed for seed in present[0] if all(seed in each for each in present)] if present else []
    mean = None
    if shared and len(present) == len(targets):
        by_seed = [[each[seed].score for each in present] for seed in shared]
        mean = average([cells[language] for language in targets], by_seed)
    return MethodRow(method=method, condition=condition, cells=cells, mean=mean, cost=cost)


def _spread(results: Sequence[Result], means: MeansByPlace) -> Spread:
    scores = [result.score for result in results]
    score = sum(scores) / len(scores)
    if len(scores) == 1:
        return Spread(score=score, low=results[0].low, high=results[0].high, num_seeds=1)
    mean = find_mean(means, results)
    return Spread(
        score=score,
        deviation=standard_deviation(scores),
        low=None if mean is None else mean.low,
        high=None if mean is None else mean.high,
        num_seeds=len(scores),
    )
