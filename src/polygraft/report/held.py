"""Contests that were held over several runs, in place of those that each run held on its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from polygraft.evaluate.contest import Contest


def settle_contests(
    own: Sequence[Contest], held: Iterable[Contest], *, task: str, source: str, methods: Iterable[str]
) -> tuple[Contest, ...]:
    """Give the contests of a task's methods: those over all runs, and of the runs' own the pairs that they lack.

    Args:
        own: Those that the runs held.
        held: Those over all runs, of any task.
        task: The task.
        source: The language of its labels.
        methods: Those that stand side by side.
    """
    known = set(methods)
    chosen = [
        contest
        for contest in held
        if (contest.task, contest.source) == (task, source)
        and {contest.method, contest.other_method} <= known
    ]
    pairs = {_find_pair(contest) for contest in chosen}
    return (*chosen, *(contest for contest in own if _find_pair(contest) not in pairs))


def _find_pair(contest: Contest) -> tuple[str, frozenset[str]]:
    return contest.language, frozenset((contest.method, contest.other_method))
