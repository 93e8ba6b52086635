"""Says in words what was run and what came out, from the numbers alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from polygraft.report.languages import language_name
from polygraft.report.numbers import (
    format_bytes,
    format_count,
    format_difference,
    format_score,
    format_seconds,
    format_share,
    is_shown_as_zero,
)
from polygraft.report.packed import list_packed
from polygraft.report.scores import Comparison, Grid, build_grids, compare_target
from polygraft.report.summary import GraftSummary, PackedSummary, RunSummary

METRICS = {"f1": "F1", "accuracy": "accuracy", "loss": "loss"}
"""How a metric is called in a sentence."""

CONDITION_WORDS = {
    "none": "no language graft",
    "task alone": "the task graft alone",
    "random": "a shuffled graft",
    "other": "another language\u2019s graft",
    "nearest": "the nearest language\u2019s graft",
    "average": "the mean of the other grafts",
    "drop-last": "the target\u2019s graft without its last layer",
    "no-invertible": "the target\u2019s graft without its invertible part",
    "source": "the source\u2019s graft",
    "target": "the target\u2019s graft",
}
"""How a known condition is called in a sentence."""

_ROLES = {
    "head": ("masked-LM graft", "masked-LM grafts"),
    "language": ("language graft", "language grafts"),
    "task": ("task graft", "task grafts"),
}
_SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def write_headline(summary: RunSummary) -> str:
    """Say the one thing to remember about a run."""
    grids = build_grids(summary)
    by_grid = [compare_target(grid) for grid in grids]
    compared = [comparison for comparisons in by_grid for comparison in comparisons]
    if not compared:
        packed = list_packed(summary.grafts)
        if packed:
            return _write_packed_headline([each for _, each in packed])
        return "What was run and what came out" if grids else _write_pruned_headline(summary.grafts)
    unit = ("language", "languages") if sum(map(bool, by_grid)) == 1 else ("test", "tests")
    helped = [comparison for comparison in compared if comparison.gain > 0]
    worse = sum(comparison.is_clear is True and comparison.gain < 0 for comparison in compared)
    subject = "The target language\u2019s graft"
    if not helped:
        where = (
            f"the one {unit[0]} tried" if len(compared) == 1 else f"any of {spell(len(compared))} {unit[1]}"
        )
        clearly = f", and was clearly worse in {spell(worse)}" if worse and len(compared) > 1 else ""
        return f"{subject} did not help in {where}{clearly}"
    clear = sum(comparison.is_clear is True for comparison in helped)
    sure = all(comparison.is_clear is not None for comparison in compared)
    if len(compared) == 1:
        return f"{subject} scored best{'' if clear or not sure else ', but not clearly'}"
    words = f"{subject} scored best in {spell(len(helped))} of {spell(len(compared))} {unit[1]}"
    if sure and clear < len(helped):
        words += f", clearly in {spell(clear) if clear else 'none'}"
    return f"{words}; it was clearly worse in {spell(worse)}" if worse else words


def _write_pruned_headline(grafts: Sequence[GraftSummary]) -> str:
    """Say how far the first pruned graft went; the page has a picture of all."""
    for graft in grafts:
        if len(graft.levels) > 1:
            last = max(graft.levels, key=lambda level: level["sparsity"])
            return f"{format_share(last['sparsity'])} of the weights pruned: {_score_level(graft, last)}"
    return "No scores were recorded"


def _write_packed_headline(packed: Sequence[PackedSummary]) -> str:
    """Say how many tasks share the weights and what room there is for more."""
    tasks = "task" if len(packed) == 1 else "tasks"
    return f"{spell(len(packed)).capitalize()} {tasks} in one set of weights, {_say_left(packed[-1])}"


def _what_was_packed(packed: Sequence[tuple[GraftSummary, PackedSummary]]) -> str:
    took = [f"\u2018{graft.name}\u2019 took {format_share(each.share)}" for graft, each in packed]
    last = packed[-1][1]
    return f"Of {format_count(last.total)} weights, {join_words(took)}; {_say_left(last)} for later tasks."


def _say_left(packed: PackedSummary) -> str:
    return f"{format_share(packed.left)} left" if packed.left else "nothing left"


def _what_pruning_cost(graft: GraftSummary) -> str:
    levels = sorted(graft.levels, key=lambda level: level["sparsity"])
    told = [f"{_score_level(graft, level)} at {format_share(level['sparsity'])}" for level in levels]
    return f"Pruned step by step and trained on after each, \u2018{graft.name}\u2019 has {join_words(told)}."


def _score_level(graft: GraftSummary, level: Mapping[str, float]) -> str:
    score = level.get("score", math.nan)
    if not math.isfinite(score):
        return "no score"
    return (
        f"a dev score of {format_score(score, metric='f1')}"
        if graft.role == "task"
        else f"a held-out loss of {score:.3f}"
    )


def write_paragraph(summary: RunSummary) -> tuple[str, ...]:
    """Write the sentences that open a report."""
    sentences = [_what_was_run(summary)]
    grids = build_grids(summary)
    for grid in grids:
        sentences += _what_came_out(grid)
    pruned = [graft for graft in summary.grafts if len(graft.levels) > 1]
    sentences += [_what_pruning_cost(graft) for graft in pruned]
    packed = list_packed(summary.grafts)
    sentences += [_what_was_packed(packed)] if packed else []
    if not grids and not pruned and not packed:
        sentences.append("No scores were recorded, so nothing can be said about transfer.")
    sentences += _what_it_cost(summary)
    return tuple(sentences)


def join_words(words: Sequence[str]) -> str:
    """Join words with commas and a last "and".

    Example:
        >>> join_words(["Hausa", "Swahili", "Yoruba"])
        'Hausa, Swahili and Yoruba'
    """
    return " and ".join(([", ".join(words[:-1])] if len(words) > 1 else []) + list(words[-1:]))


def spell(count: int) -> str:
    """Spell a small number and write a large one in figures.

    Example:
        >>> spell(4), spell(23)
        ('four', '23')
    """
    return _SMALL[count] if count < len(_SMALL) else f"{count:,}"


def _what_was_run(summary: RunSummary) -> str:
    base = f"{summary.base.name} ({format_count(summary.base.num_parameters)} parameters)"
    if not summary.grafts:
        return f"The base {base} stayed as it is: no graft was trained."
    roles = dict.fromkeys(graft.role for graft in summary.grafts)
    counts = [_count_role(summary.grafts, role) for role in roles]
    time = format_seconds(summary.seconds)
    sittings = f" in {spell(summary.num_sittings)} sittings" if summary.num_sittings > 1 else ""
    return f"On the frozen base {base}, this run had {join_words(counts)}; it took {time}{sittings}."


def _count_role(grafts: Sequence[GraftSummary], role: str) -> str:
    count = sum(graft.role == role for graft in grafts)
    one, many = _ROLES.get(role, (f"graft as \u2018{role}\u2019", f"grafts as \u2018{role}\u2019"))
    return f"{spell(count)} {one if count == 1 else many}"


def _what_came_out(grid: Grid) -> list[str]:
    metric = METRICS.get(grid.metric, grid.metric)
    sentences: list[str] = []
    if grid.source is not None and grid.targets:
        names = join_words([language_name(language) for language in grid.targets])
        source = language_name(grid.source)
        sentences.append(f"The task {grid.title} was learned from {source} labels and tried on {names}.")
    means = _means(grid)
    if len(means) > 1 and len(grid.targets) > 1:
        over = f"the {spell(len(grid.targets))} {'target ' if grid.source else ''}languages"
        sentences.append(f"Mean {metric} over {over}: {join_words(means)}.")
    compared = compare_target(grid)
    if not compared:
        return [*sentences, *_without_target(grid, metric=metric)]
    alike = [comparison for comparison in compared if is_shown_as_zero(comparison.gain, metric=grid.metric)]
    compared = tuple(comparison for comparison in compared if comparison not in alike)
    helped = [comparison for comparison in compared if comparison.gain > 0]
    other = [comparison for comparison in compared if comparison.gain < 0]
    if helped:
        sentences.append(f"The target\u2019s graft gave the best {metric} in {_list(helped, grid)}.")
    if other:
        subject = "It" if helped else "Swapping in the target\u2019s graft"
        sentences.append(f"{subject} did not help in {_list(other, grid)}.")
    if alike:
        names = join_words([language_name(comparison.language) for comparison in alike])
        subject = "It" if helped or other else "Swapping in the target\u2019s graft"
        sentences.append(f"{subject} made no difference in {names}.")
    return [*sentences, *_how_sure(compared)]


def _means(grid: Grid) -> list[str]:
    means = [(condition, grid.mean(condition, languages=grid.targets)) for condition in grid.conditions]
    return [
        f"{format_score(mean, metric=grid.metric)} with {call_condition(condition)}"
        for condition, mean in means
        if mean is not None
    ]


def _list(compared: Sequence[Comparison], grid: Grid) -> str:
    words: list[str] = []
    said = ""
    for comparison in compared:
        gain = format_difference(comparison.gain, metric=grid.metric)
        against = "" if comparison.other == said else f" against {call_condition(comparison.other)}"
        words.append(f"{language_name(comparison.language)} ({gain}{against})")
        said = comparison.other
    return join_words(words)


def _how_sure(compared: Sequence[Comparison]) -> list[str]:
    clear = [language_name(comparison.language) for comparison in compared if comparison.is_clear]
    unsure = [language_name(comparison.language) for comparison in compared if comparison.is_clear is False]
    unknown = [language_name(comparison.language) for comparison in compared if comparison.is_clear is None]
    sentences: list[str] = []
    if clear:
        sentences.append(f"These test sentences settle which is better in {join_words(clear)} (95 %).")
        if unsure:
            sentences.append(f"In {join_words(unsure)} they do not: the difference may be chance.")
    elif unsure:
        sentences.append(
            f"In {join_words(unsure)} these test sentences do not settle which is better: the difference may be "
            "chance (95 %)."
        )
    if unknown:
        sentences.append(f"For {join_words(unknown)} there are no intervals: chance cannot be ruled out.")
    return sentences


def _without_target(grid: Grid, *, metric: str) -> list[str]:
    words: list[str] = []
    for language in grid.languages:
        condition = grid.best(language)
        if condition is not None:
            score = format_score(grid.cells[language, condition].score, metric=grid.metric)
            words.append(f"{score} in {language_name(language)} (with {call_condition(condition)})")
    if not words:
        return [f"No {metric} of {grid.title} is a number."]
    return [f"The best {metric} of {grid.title} is {join_words(words)}."]


def _what_it_cost(summary: RunSummary) -> list[str]:
    if not summary.grafts or summary.base.num_bytes <= 0:
        return []
    total = sum(graft.num_bytes for graft in summary.grafts)
    stored = (
        f"{format_bytes(total)}, {format_share(total / summary.base.num_bytes)} of a full copy of the base"
    )
    tasks = [graft for graft in summary.grafts if graft.role == "task"]
    if not tasks or list_packed(tasks):
        return [f"The grafts take {stored}."]
    each = sum(graft.num_bytes for graft in tasks) / len(tasks)
    share = format_share(each / summary.base.num_bytes)
    return [f"The grafts take {stored}; one more task adds {format_bytes(each)} ({share})."]


def call_condition(condition: str) -> str:
    """Call a condition as a sentence does."""
    return CONDITION_WORDS.get(condition, f"\u2018{condition}\u2019")
