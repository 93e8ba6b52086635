"""The training steps of a run whose grafts change the base's weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from polygraft.recipe.bench import Bench, Phase
from polygraft.recipe.outcome import Label, Outcome, record_outcome
from polygraft.recipe.single_sparse import run_method

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.recipe.methods import Method
    from polygraft.recipe.steps import Job
    from polygraft.recipe.workshop import Workshop
    from polygraft.train.step import Step


def fit_by_method(
    workshop: Workshop,
    job: Job,
    method: Method,
    *,
    bench: Bench,
    label: Label,
    finish: Callable[[Graft], Graft] = lambda graft: graft,
) -> Iterator[Step]:
    """Make the graft of a step by a method, telling every update, and store it, and those of levels on the way.

    Args:
        workshop: What the steps of the run share.
        job: The step.
        method: What is done.
        bench: Where it is done.
        label: What the manifests tell.
        finish: Makes what is stored of a graft that comes out.
    """
    with closing(run_method(bench, method)) as items:
        for item in items:
            if isinstance(item, Phase):
                workshop.sentences.append(item.title)
            elif isinstance(item, Outcome):
                _keep(workshop, job, item, label, finish(item.graft))
            else:
                yield item
    bench.clear()


def _keep(workshop: Workshop, job: Job, outcome: Outcome, label: Label, graft: Graft) -> None:
    """Store a graft that came out: the last one as the step's, those of levels on the way under their own names."""
    digest = job.digest if outcome.name is None else outcome.digest
    graft.name = outcome.name or graft.name
    is_there = outcome.name is not None and workshop.store.find_step(digest, name=graft.name) is not None
    # All processes ask before the first one writes.
    if workshop.processes.agree(on=is_there):
        return
    manifest = record_outcome(outcome, graft=graft, name=graft.name, label=label, step=digest)
    if outcome.name is None:
        workshop.keep(graft, manifest)
    else:
        # No step needs a level on the way.
        workshop.put(manifest, graft)
