"""All steps of a run as its report tells them: which they are, and what they were expected to take and took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from polygraft.recipe.names import show_task
from polygraft.recipe.taken import StepTaken, load_taken
from polygraft.report.summary import StepSummary

if TYPE_CHECKING:
    from polygraft.recipe.events import PlannedStep
    from polygraft.recipe.schema import Recipe
    from polygraft.recipe.steps import Job
    from polygraft.recipe.workshop import Workshop
    from polygraft.store.manifest import Manifest


def summarise_steps(
    steps: Iterable[tuple[Workshop, Job]], planned: Sequence[PlannedStep], *, folder: Path
) -> tuple[StepSummary, ...]:
    """Say of every step of a recipe what it took, in this run or in an earlier one, and what was expected.

    Args:
        steps: Each with what the steps of its variant share, in their order.
        planned: What is expected of steps that were not begun.
        folder: Where what steps took is kept.
    """
    expected = {step.name: step for step in planned if not step.is_done}
    told: set[str] = set()
    found: list[StepSummary] = []
    for workshop, job in steps:
        # What another step of the same digest gave took nothing again.
        taken = None if job.digest in told else load_taken(folder, job.digest)
        told.add(job.digest)
        manifest = None if taken is not None or job.graft is None else workshop.manifests.get(job.graft)
        step = _summarise(workshop.recipe, job, taken, expected)
        found.append(step if manifest is None else _read_cost(step, manifest))
    return tuple(found)


def _summarise(
    recipe: Recipe, job: Job, taken: StepTaken | None, expected: Mapping[str, PlannedStep]
) -> StepSummary:
    plan = expected.get(job.name)
    is_scored = job.kind in ("task", "evaluate", "recheck") and job.task is not None
    about = StepSummary(
        name=job.name,
        kind=job.kind,
        digest=job.digest,
        family=job.family,
        method=recipe.variant.method if is_scored else "",
        seed=recipe.seed if is_scored else recipe.text_seed,
        task=show_task(recipe.tasks, job.task) if job.task is not None else "",
        source=recipe.tasks[job.task].source if job.task is not None else "",
    )
    if taken is None:
        return about if plan is None else _expect(about, plan)
    return replace(
        about,
        predicted_seconds=taken.predicted_seconds,
        seconds=taken.seconds,
        predicted_memory_bytes=taken.predicted_memory_bytes,
        memory_bytes=taken.memory_bytes,
        predicted_bytes=taken.predicted_bytes,
        num_bytes=taken.num_bytes,
        is_bound=taken.is_bound,
        sittings=taken.sittings,
    )


def _expect(about: StepSummary, plan: PlannedStep) -> StepSummary:
    return replace(
        about,
        predicted_seconds=plan.seconds,
        predicted_memory_bytes=plan.memory_bytes,
        predicted_bytes=plan.kept_bytes,
        is_bound=plan.is_bound,
    )


def _read_cost(step: StepSummary, manifest: Manifest) -> StepSummary:
    """Say what the training of a graft took that another run made, or one of before this was kept."""
    seconds, peak = manifest.cost.get("seconds"), manifest.cost.get("peak_memory_bytes")
    return replace(
        step,
        seconds=seconds,
        memory_bytes=None if peak is None else int(peak),
        num_bytes=manifest.num_bytes,
    )
