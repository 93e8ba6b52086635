"""The steps that score earlier tasks again after a later one was learned: what was forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft, copy_tensors, make_graft
from polygraft.attach.plan import list_names
from polygraft.parts.head import Head
from polygraft.recipe.names import show_task
from polygraft.recipe.objectives import score_examples
from polygraft.recipe.packing import list_below
from polygraft.recipe.score import Scores, find_headline
from polygraft.train.loop import Interrupted

if TYPE_CHECKING:
    from polygraft.attach.attach import Attachment
    from polygraft.attach.plan import Plan
    from polygraft.base.base import Base
    from polygraft.evaluate.result import Result
    from polygraft.recipe.steps import Job
    from polygraft.recipe.workshop import Workshop


def recheck_tasks(workshop: Workshop, job: Job) -> Iterator[Result | Scores]:
    """Score every task that was learned before the step's own, as it stands now, telling each result.

    A task is scored in each of its test languages under the last condition that is scored there: with the language's
    own graft where the method has one. Grafts are read as they were stored: equal digests of the predictions before
    and after say that nothing was forgotten. A copy that went on learning is scored with the head that the task had.

    Args:
        workshop: What the steps of the run share.
        job: The step; its task is the one that was learned last.

    Raises:
        Interrupted: The run is to stop; the scores of this step so far are lost.
        RecipeError: A graft was not trained yet.
    """
    recipe, last = workshop.recipe, cast("str", job.task)
    results: list[Result] = []
    for name in list_below(recipe, last):
        task = recipe.tasks[name]
        for language, path in task.test.items():
            if workshop.should_stop():
                raise Interrupted(
                    f"The scoring of what was learned before '{last}' was stopped after {len(results)} scores, which "
                    "are not kept. All grafts are. Give the same command again to score anew."
                )
            condition, plan = find_headline(recipe, name, language)
            examples = workshop.corpus.read_examples(task, path)
            with _attach(workshop, plan, name=name, last=last) as attachment:
                result, _ = score_examples(
                    attachment,
                    examples,
                    task=show_task(recipe.tasks, name),
                    language=language,
                    condition=condition,
                    seed=recipe.seed,
                )
            results.append(replace(result, source=task.source, after=last))
            yield results[-1]
    yield Scores(results=tuple(results), gains=(), family=job.family)


def _attach(workshop: Workshop, plan: Plan, *, name: str, last: str) -> Attachment:
    """Put an earlier task's plan in force, with what the last task made of the weights they share."""
    grafts = {named.name: workshop.get(named.name) for named in list_names(plan)}
    if workshop.recipe.train.task.goes_on:
        variant = workshop.recipe.variant
        copy = workshop.get(variant.name_task(last))
        earlier = variant.name_task(name)
        grafts[earlier] = take_head(workshop.base, grafts[earlier], copy)
    return attach(workshop.base, plan, grafts=grafts)


def take_head(base: Base, earlier: Graft, later: Graft) -> Graft:
    """Give what a later graft makes of the base, under the head of an earlier one and its name."""
    parts = [part for part in later.parts if not isinstance(part, Head)]
    heads = [part for part in earlier.parts if isinstance(part, Head)]
    made = make_graft(base, earlier.name, [*parts, *heads])
    own = {kind for kind, part in zip(made.layers, made.parts, strict=True) if isinstance(part, Head)}
    tensors = {
        key: (earlier if key.partition(".")[0] in own else later).tensors()[key] for key in made.tensors()
    }
    copy_tensors(made, tensors)
    made.layers.requires_grad_(False)
    return made
