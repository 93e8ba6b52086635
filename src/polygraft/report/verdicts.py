"""Says in words how methods compare: which is best where, how sure that is, what it costs and what was forgotten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from polygraft.report.forgetting import Forgotten, list_forgotten
from polygraft.report.joining import Run, call_methods
from polygraft.report.languages import language_name
from polygraft.report.methods import MethodGrid, MethodRow
from polygraft.report.numbers import (
    format_bytes,
    format_count,
    format_difference,
    format_score,
    format_seconds,
    format_share,
)
from polygraft.report.pareto import find_frontier, list_points
from polygraft.report.rivals import Rival, list_rivals
from polygraft.report.spreads import format_spread
from polygraft.report.swapped import tell_swapped
from polygraft.report.words import METRICS, join_words, spell

MOST_NAMES = 4
"""More methods than this are counted instead of named."""


def write_comparison(grids: Sequence[MethodGrid], forgotten: Sequence[Forgotten] = ()) -> str:
    """Say the one thing to remember about a comparison, and what the best methods forgot of it since.

    Args:
        grids: The scores of each task right after it was learned.
        forgotten: What the methods forgot of earlier tasks.
    """
    leaders = {row.method for grid in grids for row in _lead(grid)}
    lost = [each for each in forgotten if each.method in leaders and each.average > 0]
    told = [
        f"\u2018{each.method}\u2019 then forgot {_say_lost(each)} points of earlier tasks" for each in lost
    ]
    return "; ".join([write_verdict(grids), *told])


def write_verdict(grids: Sequence[MethodGrid]) -> str:
    """Say which method is best, and how clearly."""
    if not grids:
        return "No scores were recorded"
    if len(grids) > 1:
        leaders = Counter(_name_few(_lead(grid)) for grid in grids if _lead(grid))
        told = [
            f"{name} in {spell(count)}"
            if number
            else f"{name} in {spell(count)} of {spell(len(grids))} tests"
            for number, (name, count) in enumerate(leaders.most_common(MOST_NAMES))
        ]
        return f"Best on average: {join_words(told)}" if told else "What was compared and what came out"
    [grid] = grids
    leaders = _lead(grid)
    if not leaders or len(grid.rows) == 1:
        return "What was compared and what came out"
    count = spell(len(grid.rows))
    if len(leaders) == len(grid.rows):
        return f"All {count} methods have the same mean {_metric(grid)}"
    if len(leaders) > 1:
        return f"{_name(leaders)} share the best mean {_metric(grid)} of {count} methods"
    places = [language for language in grid.targets if _is_ahead(grid, language, leaders[0].method)]
    if len(grid.targets) == 1:
        sure = "" if not grid.contests else ", clearly" if places else ", but not clearly ahead of all others"
        return f"\u2018{leaders[0].method}\u2019 scored best of {count} methods{sure}"
    sure = "" if not grid.contests else f"; it is clearly ahead of all others in {_count(grid, places)}"
    return f"\u2018{leaders[0].method}\u2019 has the best mean {_metric(grid)} of {count} methods{sure}"


def write_verdicts(runs: Sequence[Run], grids: Sequence[MethodGrid]) -> tuple[str, ...]:
    """Write the paragraphs that open the report of a comparison."""
    forgotten = gather_forgotten(runs)
    paragraphs = [
        _what_was_compared(runs),
        *(" ".join((*_what_came_out(grid), *_what_it_costs(grid))) for grid in grids),
        " ".join(_what_was_forgotten(forgotten)),
        " ".join([*tell_swapped(runs), *_what_is_worse(grids)]),
    ]
    return tuple(paragraph for paragraph in paragraphs if paragraph)


def gather_forgotten(runs: Sequence[Run]) -> list[Forgotten]:
    """Say of each method of some runs what it forgot, under the name that it has on their page."""
    names = call_methods(runs)
    return [
        replace(each, method=names.get((run.label, each.method), each.method))
        for run in runs
        for each in list_forgotten(run.summary)
    ]


def _what_was_compared(runs: Sequence[Run]) -> str:
    told: list[str] = []
    for run in runs:
        summary = run.summary
        methods: dict[str, set[int]] = {}
        for result in summary.results:
            methods.setdefault(result.method, set()).add(result.seed)
        count = f"{spell(len(methods))} method{'' if len(methods) == 1 else 's'}"
        several = _say_seeds(list(methods.values()))
        base = f"{summary.base.name} ({format_count(summary.base.num_parameters)} parameters)"
        took = format_seconds(summary.seconds)
        name = f"\u2018{run.label}\u2019" if len(runs) > 1 else "This run"
        told.append(f"{name} has {count}, {several}, on the frozen base {base}; it took {took}.")
    return " ".join(told)


def _say_seeds(by_method: Sequence[set[int]]) -> str:
    counts = [len(seeds) for seeds in by_method]
    if max(counts, default=1) == 1:
        return "with one seed"
    if any(seeds != by_method[0] for seeds in by_method):
        return f"with {spell(min(counts))} to {spell(max(counts))} seeds"
    return f"each with the seeds {join_words([str(seed) for seed in sorted(by_method[0])])}"


def _what_came_out(grid: MethodGrid) -> list[str]:
    leaders = _lead(grid)
    if not leaders:
        return [f"In {grid.title} no mean {_metric(grid)} over the languages is known."]
    learned = f", learned from {language_name(grid.source)} labels," if grid.source else ""
    sentences: list[str] = []
    if len(grid.targets) > 1:
        kind = "target " if grid.source in grid.languages else ""
        sentences.append(
            f"In {grid.title}{learned} the best mean {_metric(grid)} over the {spell(len(grid.targets))} "
            f"{kind}languages is {_say_mean(leaders[0], grid)}{_say_leaders(leaders, grid)}."
        )
    elif grid.targets:
        sentences.append(
            f"In {grid.title}{learned} the best {_metric(grid)} in {language_name(grid.targets[0])} is "
            f"{_say_mean(leaders[0], grid)}{_say_leaders(leaders, grid)}."
        )
    if len(grid.rows) > 1:
        sentences += _how_sure(grid)
    return sentences


def _how_sure(grid: MethodGrid) -> list[str]:
    """Say for each language which method is best, and which ones the sentences do not tell from it."""
    sentences: list[str] = []
    rivals = list_rivals(grid)
    for language in grid.targets:
        best = grid.best(language)
        if best is None:
            continue
        score = best.cells[language].score
        told, where = format_score(score, metric=grid.metric), f"In {language_name(language)}"
        tied = [
            row.method for row in grid.rows if language in row.cells and row.cells[language].score == score
        ]
        if len(tied) == len(grid.rows):
            sentences.append(f"{where} all methods score {told}.")
            continue
        if len(tied) > MOST_NAMES:
            sentences.append(f"{where} {_count_of(len(tied), grid)} share the best score ({told}).")
            continue
        here = [rival for rival in rivals if rival.language == language and rival.other not in tied]
        sure = _say_sure(here, num_others=len(grid.rows) - len(tied))
        verb = "is" if len(tied) == 1 else "are"
        sentences.append(f"{where} {_list_names(tied)} {verb} best ({told}), {sure}.")
    return sentences


def _say_sure(rivals: Sequence[Rival], *, num_others: int) -> str:
    if not rivals:
        return "and was not compared with the others sentence by sentence"
    unclear = [rival.other for rival in rivals if not rival.is_clear]
    left = num_others - len(rivals)
    further = f"; {spell(left)} of the others could not be compared" if left else ""
    if not unclear:
        return f"clearly ahead of {'every other method' if not left else f'the other {spell(len(rivals))}'}{further}"
    return f"but not clearly ahead of {_list_names(unclear)}{further}"


def _what_it_costs(grid: MethodGrid) -> list[str]:
    """Hold what the best method keeps against a full copy, and name what none beats in both."""
    leaders = _lead(grid)
    # Where so many share the best score, none of them is held up as the best.
    leader = leaders[0] if 0 < len(leaders) <= MOST_NAMES else None
    copy = next(
        (row for row in grid.rows if row.cost is not None and row.cost.is_copy and not row.cost.goes_on), None
    )
    sentences: list[str] = []
    if leader is not None and leader.cost is not None and not leader.cost.is_copy and copy is not None:
        sentences.append(_hold_against_copy(grid, leader, copy))
    frontier = find_frontier(list_points(grid), lower_is_better=grid.metric == "loss")
    if len(grid.rows) > 2 and len(frontier) > MOST_NAMES:
        sentences.append(
            f"Stored bytes against score, {spell(len(frontier))} methods are beaten by none: the line in the plot."
        )
    elif len(grid.rows) > 2 and frontier:
        told = [
            f"\u2018{point.name}\u2019 ({format_score(point.spread.score, metric=grid.metric)} for "
            f"{format_bytes(point.num_bytes)})"
            for point in frontier
        ]
        sentences.append(f"Stored bytes against score, no method beats {join_words(told)}.")
    return sentences


def _hold_against_copy(grid: MethodGrid, leader: MethodRow, copy: MethodRow) -> str:
    assert leader.cost is not None and copy.cost is not None
    share = format_share(leader.cost.num_bytes / copy.cost.num_bytes) if copy.cost.num_bytes else "none"
    stored = (
        f"For the task \u2018{leader.method}\u2019 stores {format_bytes(leader.cost.num_bytes)}, {share} of the "
        f"{format_bytes(copy.cost.num_bytes)} of the full copy \u2018{copy.method}\u2019"
    )
    if leader.cost.num_languages:
        stored += f", and {format_bytes(leader.cost.language_bytes)} for each language"
    if leader.mean is None or copy.mean is None:
        return f"{stored}."
    ahead = grid.better(leader.mean.score, copy.mean.score)
    return f"{stored}; on average it scores {format_score(ahead, metric=grid.metric)} better."


def _what_was_forgotten(forgotten: Sequence[Forgotten]) -> list[str]:
    if not forgotten:
        return []
    sentences: list[str] = []
    for each in forgotten:
        if each.is_same:
            continue
        transfer = format_difference(each.transfer, metric="f1")
        sentences.append(
            f"\u2018{each.method}\u2019 has an average forgetting of {_say_lost(each)} points and a backward transfer "
            f"of {transfer}: after later tasks {_say_kept(each)}.{_say_final(each)}"
        )
    same = [each.method for each in forgotten if each.is_same and not each.had_nothing]
    if same:
        sentences.append(
            f"{_list_names(same, most=99)} forgot nothing: every label of every earlier task was the same after each "
            "later task, as equal digests of the predictions prove."
        )
    sentences += [
        _say_silent(each) for each in forgotten if each.is_same and each.silent and not each.had_nothing
    ]
    empty = [each.method for each in forgotten if each.is_same and each.had_nothing]
    if empty:
        sentences.append(
            f"{_list_names(empty, most=99)} had predicted nothing in any earlier task, so nothing could be forgotten."
        )
    return sentences


def _say_lost(each: Forgotten) -> str:
    return format_score(each.average, metric="f1")


def _say_final(each: Forgotten) -> str:
    """Tell the scores that are left in the end, where they are others than those right after each task."""
    left: list[str] = []
    for task, line in zip(each.tasks, each.matrix, strict=True):
        known = [score for score in line if score is not None]
        if len(known) > 1 and known[-1] != known[0]:
            left.append(f"{format_score(known[-1], metric='f1')} in {task}")
    if not left:
        return ""
    return f" The scores told of it are those right after each task was learned; in the end it has {join_words(left)}."


def _say_silent(each: Forgotten) -> str:
    return (
        f"In {join_words(each.silent)} \u2018{each.method}\u2019 had predicted nothing, so nothing could be forgotten "
        "there."
    )


def _say_kept(each: Forgotten) -> str:
    if not each.num_compared:
        return "it is not known which predictions stayed"
    kept = spell(each.num_same) if each.num_same else "none"
    verb = "was" if each.num_same < 2 else "were"
    return f"{kept} of {each.num_compared} test sets {verb} still predicted label by label as before"


def _what_is_worse(grids: Sequence[MethodGrid]) -> list[str]:
    """Name the methods that are clearly worse than the best one in every target language."""
    sentences: list[str] = []
    for grid in grids:
        clear = {(rival.language, rival.other) for rival in list_rivals(grid) if rival.is_clear}
        worse = [
            row.method
            for row in grid.rows
            if all((language, row.method) in clear for language in grid.targets)
        ]
        if worse:
            names = [language_name(language) for language in grid.targets]
            where = names[0] if len(names) == 1 else "every target language"
            verb = "is" if len(worse) == 1 else "are"
            sentences.append(
                f"In {grid.title} {_list_names(worse, most=99)} {verb} clearly worse than the best method in {where}."
            )
    return sentences


def _lead(grid: MethodGrid) -> list[MethodRow]:
    """Give the methods with the best mean: several only where they are equal."""
    best = grid.best_mean()
    if best is None or best.mean is None:
        return []
    return [row for row in grid.rows if row.mean is not None and row.mean.score == best.mean.score]


def _is_ahead(grid: MethodGrid, language: str, method: str) -> bool:
    """Whether a method is a language's best, and clearly so against every other one."""
    best = grid.best(language)
    here = [rival for rival in list_rivals(grid) if rival.language == language]
    return (
        best is not None
        and best.method == method
        and len(here) == len(grid.rows) - 1
        and all(rival.is_clear for rival in here)
    )


def _count(grid: MethodGrid, places: Sequence[str]) -> str:
    return f"{spell(len(places)) if places else 'none'} of {spell(len(grid.targets))} languages"


def _name_few(leaders: Sequence[MethodRow]) -> str:
    return "no one method" if len(leaders) > MOST_NAMES else _name(leaders)


def _say_leaders(leaders: Sequence[MethodRow], grid: MethodGrid) -> str:
    """Name the methods with a score, or say how many share it where that says nothing of any."""
    if len(leaders) <= MOST_NAMES:
        return f" with {_name(leaders)}"
    return f", which {_count_of(len(leaders), grid)} share"


def _count_of(count: int, grid: MethodGrid) -> str:
    num_methods = len(grid.rows)
    return (
        f"all {spell(count)} methods"
        if count == num_methods
        else f"{spell(count)} of {spell(num_methods)} methods"
    )


def _name(leaders: Sequence[MethodRow]) -> str:
    return _list_names([row.method for row in leaders])


def _list_names(names: Sequence[str], *, most: int = MOST_NAMES) -> str:
    if len(names) > most:
        return f"{spell(len(names))} methods"
    return join_words([f"\u2018{name}\u2019" for name in names])


def _say_mean(row: MethodRow, grid: MethodGrid) -> str:
    assert row.mean is not None
    off = format_spread(row.mean, metric=grid.metric)
    return f"{format_score(row.mean.score, metric=grid.metric)}{'' if off is None else f' ({off})'}"


def _metric(grid: MethodGrid) -> str:
    return METRICS.get(grid.metric, grid.metric)
