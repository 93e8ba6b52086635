"""Which conditions of a test are compared with each other, on the sentences that all of them labelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from polygraft.evaluate.gain import Gain, Labels, measure_gain
from polygraft.report.scores import BORROWED, TARGET, WITHOUT

if TYPE_CHECKING:
    from polygraft.evaluate.result import Result


def list_pairs(results: Mapping[str, Result]) -> list[tuple[str, str]]:
    """List the pairs of conditions of a test that are compared, the one that is looked at first.

    That is the target's own graft with every other condition. In a language that has no graft of its own, those of
    other languages are compared with none. In the source's own language nothing is.

    Args:
        results: The scores of one test in one language, by condition.
    """
    if TARGET in results:
        return [(TARGET, other) for other in results if other != TARGET]
    return [
        (condition, other)
        for condition, result in results.items()
        if condition in BORROWED and result.language != result.source
        for other in WITHOUT
        if other in results
    ]


def compare_conditions(
    gold: Labels, results: Mapping[str, Result], labels: Mapping[str, Labels]
) -> list[Gain]:
    """Compare the conditions of `list_pairs`.

    Args:
        gold: The right labels, a row a sentence.
        results: The scores of one test in one language, by condition.
        labels: What was predicted under each.
    """
    return [
        measure_gain(
            results[condition],
            results[other],
            gold=gold,
            predicted=labels[condition],
            against=labels[other],
        )
        for condition, other in list_pairs(results)
        if condition in labels and other in labels
    ]
