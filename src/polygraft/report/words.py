"""Says in words what was run and what came out, from the numbers alone."""

from __future__ import annotations

from collections.abc import Sequence

from polygraft.report.languages import language_name
from polygraft.report.numbers import (
    format_bytes,
    format_count,
    format_difference,
    format_score,
    format_seconds,
    format_share,
)
from polygraft.report.scores import Comparison, Grid, build_grids, compare_target
from polygraft.report.summary import GraftSummary, RunSummary

METRICS = {"f1": "F1", "accuracy": "accuracy", "loss": "loss"}
"""How a metric is called in a sentence."""

_ROLES = {"head": "head", "shared": "shared graft", "language": "language graft", "task": "task graft"}


def write_headline(summary: RunSummary) -> str:
    """Say the one thing to remember about a run."""
    grids = build_grids(summary)
    compared = [comparison for grid in grids for comparison in compare_target(grid)]
    if not compared:
        return "What was run and what came out" if grids else "No results were recorded"
    num_helped = sum(comparison.gain > 0 for comparison in compared)
    if num_helped == 0:
        return f"The target language's graft did not help in {_all_of(len(compared))}"
    if num_helped == len(compared):
        return f"The target language's graft helped in {_all_of(len(compared), every=True)}"
    return f"The target language's graft helped in {num_helped} of {len(compared)} languages"


def write_paragraph(summary: RunSummary) -> tuple[str, ...]:
    """Write the sentences that open a report."""
    sentences = [_what_was_run(summary)]
    grids = build_grids(summary)
    for grid in grids:
        sentences += _what_came_out(grid)
    if not grids:
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


def describe_comparison(comparison: Comparison, *, metric: str) -> str:
    """Write one comparison of the target's graft as a few words.

    Example:
        >>> c = Comparison(language="hau", other="source", gain=0.031, overlap=False)
        >>> describe_comparison(c, metric="f1")
        "+3.1 against 'source', intervals apart"
    """
    words = f"{format_difference(comparison.gain, metric=metric)} against '{comparison.other}'"
    if comparison.overlap is None:
        return words
    return f"{words}, intervals {'overlap' if comparison.overlap else 'apart'}"


def _what_was_run(summary: RunSummary) -> str:
    base = (
        f"The base {summary.base.name} ({format_count(summary.base.num_parameters)} parameters) stayed frozen"
    )
    if not summary.grafts:
        return f"{base}, and no graft was trained."
    counts = [
        _count_role(summary.grafts, role) for role in dict.fromkeys(graft.role for graft in summary.grafts)
    ]
    return f"{base}; {join_words(counts)} changed what it does, in {format_seconds(summary.seconds)} for the whole run."


def _count_role(grafts: Sequence[GraftSummary], role: str) -> str:
    found = [graft for graft in grafts if graft.role == role]
    word = _ROLES.get(role, f"graft of the role '{role}'")
    if len(found) == 1:
        return f"one {word}"
    return f"{len(found)} {word.replace('graft', 'grafts') if 'graft' in word else word + 's'}"


def _what_came_out(grid: Grid) -> list[str]:
    metric = METRICS.get(grid.metric, grid.metric)
    sentences: list[str] = []
    if grid.source is not None and grid.targets:
        names = join_words([language_name(language) for language in grid.targets])
        sentences.append(
            f"{grid.task} was learned from {language_name(grid.source)} labels and tried on {names}."
        )
    means = _means(grid)
    if len(means) > 1:
        sentences.append(f"Mean {metric} over {_targets(grid)}: {join_words(means)}.")
    compared = compare_target(grid)
    if not compared:
        return [*sentences, *_without_target(grid, metric=metric)]
    helped = [comparison for comparison in compared if comparison.gain > 0]
    other = [comparison for comparison in compared if comparison.gain <= 0]
    if helped:
        sentences.append(
            f"Swapping in the target's own graft gave the best {metric} in {_list(helped, grid)}."
        )
    if other:
        sentences.append(f"It did not help in {_list(other, grid)}." if helped else _no_help(other, grid))
    return [*sentences, *_how_sure(compared)]


def _means(grid: Grid) -> list[str]:
    means = [(condition, grid.mean(condition, languages=grid.targets)) for condition in grid.conditions]
    return [
        f"{format_score(mean, metric=grid.metric)} under '{condition}'"
        for condition, mean in means
        if mean is not None
    ]


def _no_help(compared: Sequence[Comparison], grid: Grid) -> str:
    return f"Swapping in the target's own graft did not help in {_list(compared, grid)}."


def _list(compared: Sequence[Comparison], grid: Grid) -> str:
    return join_words(
        [
            f"{language_name(comparison.language)} ({describe_comparison(comparison, metric=grid.metric)})"
            for comparison in compared
        ]
    )


def _how_sure(compared: Sequence[Comparison]) -> list[str]:
    unsure = [language_name(comparison.language) for comparison in compared if comparison.overlap]
    unknown = [language_name(comparison.language) for comparison in compared if comparison.overlap is None]
    sentences: list[str] = []
    if unsure:
        sentences.append(
            f"In {join_words(unsure)} the 95 % intervals overlap: "
            "these test sentences alone do not settle which is better."
        )
    if unknown:
        sentences.append(f"For {join_words(unknown)} there are no intervals, so chance cannot be ruled out.")
    return sentences


def _without_target(grid: Grid, *, metric: str) -> list[str]:
    best = [(language, grid.best(language)) for language in grid.languages]
    words = [
        f"{format_score(grid.cells[language, condition].score, metric=grid.metric)} in {language_name(language)}"
        f" ('{condition}')"
        for language, condition in best
        if condition is not None
    ]
    if not words:
        return [f"No {metric} of {grid.task} is a number."]
    return [f"The best {metric} of {grid.task} is {join_words(words)}."]


def _what_it_cost(summary: RunSummary) -> list[str]:
    if not summary.grafts or summary.base.num_bytes <= 0:
        return []
    total = sum(graft.num_bytes for graft in summary.grafts)
    stored = (
        f"{format_bytes(total)}, {format_share(total / summary.base.num_bytes)} of a full copy of the base"
    )
    tasks = [graft for graft in summary.grafts if graft.role == "task"]
    if not tasks or len(tasks) == len(summary.grafts):
        return [f"All grafts together take {stored}."]
    each = sum(graft.num_bytes for graft in tasks) / len(tasks)
    share = format_share(each / summary.base.num_bytes)
    return [f"All grafts together take {stored}; one more task adds {format_bytes(each)} ({share})."]


def _targets(grid: Grid) -> str:
    return "the language tried" if len(grid.targets) == 1 else f"the {len(grid.targets)} target languages"


def _all_of(count: int, *, every: bool = False) -> str:
    if count == 1:
        return "the one language tried"
    return f"all {count} languages" if every else f"any of {count} languages"
