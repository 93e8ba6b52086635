"""The plan of a run: its steps, what is done, and what the others are likely to take."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from polygraft.recipe.estimate import Estimate, estimate_step
from polygraft.recipe.events import PlannedStep, RunPlan
from polygraft.recipe.paces import Paces
from polygraft.recipe.room import check_disk, check_memory
from polygraft.recipe.volume import Samples
from polygraft.recipe.work import Planner
from polygraft.train.memory import give_back_memory, read_free, read_status

if TYPE_CHECKING:
    from pathlib import Path

    from polygraft.recipe.steps import Job
    from polygraft.recipe.summarise import Turn


def plan_run(turns: Sequence[Turn], done: Collection[str], *, most_seconds: float | None = None) -> RunPlan:
    """Plan a run; what is not done yet is rehearsed for some seconds on this machine, and nothing is written.

    Args:
        turns: The variants of the recipe with the steps that were asked for.
        done: Names of the steps that were done before.
        most_seconds: After so many seconds no other kind of work is rehearsed, and times are left open; None rehearses
            all kinds.
    """
    base = turns[0].workshop.base
    samples, paces = Samples(base=base), Paces(base=base, most_seconds=most_seconds)
    found: list[tuple[Turn, Job, Estimate | None]] = []
    for turn in turns:
        planner = Planner(workshop=turn.workshop, samples=samples, paces=paces)
        for job in turn.jobs:
            found.append((turn, job, None if job.name in done else estimate_step(planner, job)))
    give_back_memory()
    # What the rehearsals left behind, such as programs that libraries prepared, is there in the run as well.
    loaded = read_status("VmRSS")
    steps = tuple(_make_step(job, estimate, loaded=loaded) for _, job, estimate in found)
    warnings = check_memory(steps, free=read_free())
    if any(estimate is not None for _, _, estimate in found):
        warnings += check_disk(list(_list_needs(found)))
    return RunPlan(steps=steps, warnings=tuple(warnings), num_untried=paces.num_left)


def _make_step(job: Job, estimate: Estimate | None, *, loaded: int | None) -> PlannedStep:
    if estimate is None:
        return PlannedStep(
            name=job.name, kind=job.kind, description=job.description, digest=job.digest, is_done=True
        )
    return PlannedStep(
        name=job.name,
        kind=job.kind,
        description=job.description,
        digest=job.digest,
        is_done=False,
        seconds=estimate.seconds,
        memory_bytes=None if loaded is None else loaded + estimate.above_bytes,
        above_bytes=estimate.above_bytes,
        kept_bytes=estimate.kept_bytes,
        passing_bytes=estimate.passing_bytes,
        is_bound=estimate.is_bound,
    )


def _list_needs(found: Sequence[tuple[Turn, Job, Estimate | None]]) -> Iterator[tuple[Path, int]]:
    """List the store and the run's folder with the most bytes that are needed there at once."""
    recipe = found[0][0].workshop.recipe
    in_store = in_runs = most = 0
    for turn, job, estimate in found:
        if estimate is None:
            continue
        most = max(most, in_runs + estimate.passing_bytes)
        is_copy = turn.workshop.recipe.variant.is_copy
        if job.graft is None or is_copy:
            in_runs += estimate.kept_bytes
        else:
            in_store += estimate.kept_bytes
    yield recipe.store, in_store
    yield recipe.folder, max(most, in_runs)
