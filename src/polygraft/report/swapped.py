"""Says in words what the target's own language grafts did, one sentence a method."""

from __future__ import annotations

from collections.abc import Sequence

from polygraft.report.joining import Run, call_methods
from polygraft.report.languages import language_name
from polygraft.report.numbers import format_difference, is_shown_as_zero
from polygraft.report.scores import Comparison, build_grids, compare_target
from polygraft.report.words import join_words

OUTCOMES = ("helped", "made no clear difference", "made no difference", "did harm", "cannot be judged")
"""What a language graft can do, in the order in which it is told."""


def tell_swapped(runs: Sequence[Run]) -> list[str]:
    """Tell for each method where its language grafts helped, where they did not, and where they did harm."""
    names = call_methods(runs)
    sentences: list[str] = []
    for run in runs:
        grids = build_grids(run.summary)
        for method in dict.fromkeys(grid.method for grid in grids):
            told: dict[str, list[str]] = {}
            for grid in grids:
                for each in compare_target(grid) if grid.method == method else ():
                    outcome = judge(each, metric=grid.metric)
                    words = [grid.title.removesuffix(f" with {method}")]
                    if outcome != "made no difference":
                        words.append(format_difference(each.gain, metric=grid.metric))
                    place = f"{language_name(each.language)} ({', '.join(words)})"
                    told.setdefault(outcome, []).append(place)
            phrases = [f"{outcome} in {join_words(told[outcome])}" for outcome in OUTCOMES if outcome in told]
            if phrases:
                subject = "the target\u2019s own language graft, against the best other condition,"
                sentences.append(
                    f"With \u2018{names[run.label, method]}\u2019 {subject} {'; it '.join(phrases)}."
                )
    return sentences


def judge(comparison: Comparison, *, metric: str) -> str:
    """Give what a language graft did, one of `OUTCOMES`."""
    if is_shown_as_zero(comparison.gain, metric=metric):
        return "made no difference"
    if comparison.is_clear is None:
        return "cannot be judged"
    if not comparison.is_clear:
        return "made no clear difference"
    return "helped" if comparison.gain > 0 else "did harm"
