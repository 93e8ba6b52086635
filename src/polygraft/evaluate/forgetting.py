"""What is lost of earlier tasks while later ones are learned: average forgetting and backward transfer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from polygraft.evaluate.result import Result


@dataclass(frozen=True, kw_only=True)
class History:
    """How the scores of one task went on while later ones were learned."""

    task: str
    source: str
    """The language of its labels."""
    scores: tuple[float, ...]
    """Just after it was learned, then after each later task; each is the mean over the task's test languages."""
    num_compared: int = 0
    """Test sets that were predicted again after a later task and whose predictions are known both times."""
    num_same: int = 0
    """How many of them had every label as it was just after the task was learned."""
    is_silent: bool = False
    """Whether nothing at all was predicted just after it was learned, so that nothing could be forgotten."""
    is_complete: bool = True
    """Whether the predictions are known of every test set that was scored again."""

    @property
    def forgetting(self) -> float:
        """The best score before the last task was learned, minus the score after it."""
        return max(self.scores[:-1]) - self.scores[-1] if len(self.scores) > 1 else 0.0

    @property
    def transfer(self) -> float:
        """The score after the last task was learned, minus the one just after this one was."""
        return self.scores[-1] - self.scores[0]


@dataclass(frozen=True, kw_only=True)
class Forgetting:
    """What one method forgot with one seed.

    With a score a(l, j) of task j after task l was learned and k tasks in all, the average forgetting is the mean over
    j < k of max over j <= l < k of a(l, j), minus a(k, j) (Chaudhry et al. 2018, "Riemannian Walk for Incremental
    Learning", section 3; their maximum also has the scores before the task was learned, which are not measured here).
    The backward transfer is the mean over j < k of a(k, j) - a(j, j) (Lopez-Paz and Ranzato 2017, "Gradient Episodic
    Memory", section 2).
    """

    method: str
    seed: int
    stages: tuple[str, ...]
    """The tasks after which the scores were taken: the first one learned, then each that was followed by scores."""
    histories: tuple[History, ...]
    """In the order in which the tasks were learned; the last one has one score."""

    @property
    def earlier(self) -> tuple[History, ...]:
        """The tasks that were followed by another."""
        return tuple(history for history in self.histories if len(history.scores) > 1)

    @property
    def average(self) -> float:
        """Average forgetting: above zero where later tasks cost earlier ones something."""
        return sum(history.forgetting for history in self.earlier) / len(self.earlier)

    @property
    def backward_transfer(self) -> float:
        """Backward transfer: below zero where later tasks cost earlier ones something."""
        return sum(history.transfer for history in self.earlier) / len(self.earlier)

    @property
    def is_same(self) -> bool | None:
        """Whether every label of every earlier task stayed as it was; None where not all predictions are known."""
        if any(history.num_same < history.num_compared for history in self.earlier):
            return False
        return True if all(history.is_complete for history in self.earlier) else None


def measure_forgetting(results: Sequence[Result], rechecks: Sequence[Result]) -> tuple[Forgetting, ...]:
    """Say for each method and seed what was forgotten; those of which no task was scored again are left out.

    Args:
        results: The scores just after each task was learned, in the order in which the tasks were.
        rechecks: Those of earlier tasks after later ones, in that order; `after` names the later one.

    Example:
        >>> from dataclasses import replace
        >>> first = Result(
        ...     task="ner",
        ...     language="en",
        ...     condition="task alone",
        ...     plan="ner",
        ...     metric="f1",
        ...     score=0.8,
        ...     num_sentences=9,
        ...     num_gold=9,
        ...     seconds=1.0,
        ...     tokens_per_second=9.0,
        ...     seed=0,
        ...     method="sequential",
        ... )
        >>> second = replace(first, task="pos", score=0.9)
        >>> [found] = measure_forgetting([first, second], [replace(first, score=0.5, after="pos")])
        >>> round(found.average, 3), round(found.backward_transfer, 3), found.is_same
        (0.3, -0.3, None)
    """
    found: list[Forgetting] = []
    for method, seed in dict.fromkeys((result.method, result.seed) for result in rechecks):
        own = [result for result in results if (result.method, result.seed) == (method, seed)]
        again = [result for result in rechecks if (result.method, result.seed) == (method, seed)]
        later = tuple(dict.fromkeys(result.after for result in again))
        followed = [
            _follow(_of(own, task, source), _of(again, task, source), later, task=task, source=source)
            for task, source in dict.fromkeys((result.task, result.source) for result in own)
        ]
        histories = [history for history in followed if history.scores]
        if any(len(history.scores) > 1 for history in histories):
            first = histories[0].task
            found.append(
                Forgetting(method=method, seed=seed, stages=(first, *later), histories=tuple(histories))
            )
    return tuple(found)


def _of(results: Iterable[Result], task: str, source: str) -> list[Result]:
    return [result for result in results if (result.task, result.source) == (task, source)]


def _follow(
    own: Sequence[Result], again: Sequence[Result], later: Sequence[str], *, task: str, source: str
) -> History:
    """Follow a task through the later ones, under the condition that was scored again."""
    asked = {result.language: result.condition for result in again}
    # Of the last task nothing is scored again: the last condition is the one that others are scored under.
    learned = {
        result.language: result
        for result in own
        if asked.get(result.language, result.condition) == result.condition
    }
    scores = [_average(learned.values())] if learned else []
    pairs: list[tuple[str, str]] = []
    for stage in later:
        at = [result for result in again if result.after == stage and result.language in learned]
        if at:
            scores.append(_average(at))
            pairs += [(learned[result.language].predictions, result.predictions) for result in at]
    known = [(before, after) for before, after in pairs if before and after]
    return History(
        task=task,
        source=source,
        scores=tuple(scores),
        is_silent=bool(learned) and all(map(_is_silent, learned.values())),
        num_compared=len(known),
        num_same=sum(before == after for before, after in known),
        is_complete=len(known) == len(pairs),
    )


def _average(results: Iterable[Result]) -> float:
    """Average over the test sets that have something to find; over all where none has."""
    every = list(results)
    scores = [result.score for result in every if result.has_gold] or [result.score for result in every]
    return sum(scores) / len(scores)


def _is_silent(result: Result) -> bool:
    return (
        result.metric == "f1"
        and result.score == 0
        and not any(each.num_predicted for each in result.by_type.values())
    )
