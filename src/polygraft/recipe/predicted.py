"""What the methods of a run predicted of each test set, seed by seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from polygraft.evaluate.contest import System
from polygraft.evaluate.gain import Labels
from polygraft.recipe.names import show_task
from polygraft.recipe.score import find_headline, list_gold

if TYPE_CHECKING:
    from polygraft.recipe.score import Scored

Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class PredictedTest:
    """A test set with what was predicted of it."""

    task: str
    """What results call the task."""
    language: str
    source: str
    """The language of the labels that were learned."""
    metric: str
    gold: Labels
    """The right labels, a row a sentence."""
    systems: dict[System, dict[int, Labels]] = field(default_factory=dict[System, dict[int, Labels]])
    """Predicted labels, likewise, by method, condition and seed."""

    def compare(self, by: Callable[..., Iterable[Found]]) -> Iterable[Found]:
        """Compare the systems.

        Args:
            by: `hold_contests`, or what takes the same.
        """
        return by(
            self.systems,
            gold=self.gold,
            metric=self.metric,
            task=self.task,
            language=self.language,
            source=self.source,
        )


def gather_predicted(scored: Sequence[Scored], *, headlines_only: bool) -> list[PredictedTest]:
    """Sort what was predicted by test set.

    Args:
        scored: Scoring steps that were done; those whose labels were not kept are left out.
        headlines_only: Whether each method counts under the condition alone that it is judged by.
    """
    tests: dict[tuple[str, str], PredictedTest] = {}
    for step in scored:
        recipe, name, results = step.workshop.recipe, step.job.task or "", step.scores.results
        if step.labels is None or not results:
            continue
        task = recipe.tasks[name]
        for language, by_condition in step.labels.items():
            headline, _ = find_headline(recipe, name, language)
            for condition, labels in by_condition.items():
                if headlines_only and condition != headline:
                    continue
                if (name, language) not in tests:
                    tests[name, language] = PredictedTest(
                        task=show_task(recipe.tasks, name),
                        language=language,
                        source=task.source,
                        metric=results[0].metric,
                        gold=list_gold(step.workshop.corpus.read_examples(task, task.test[language])),
                    )
                system = System(method=recipe.variant.method, condition=condition)
                tests[name, language].systems.setdefault(system, {})[results[0].seed] = labels
    return list(tests.values())
