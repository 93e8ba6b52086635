"""What a run tells in the end: its grafts with their costs, and its scores."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from polygraft.evaluate.language_loss import losses_to_csv
from polygraft.evaluate.result import results_to_csv
from polygraft.recipe.completed import complete_scores, name_scores
from polygraft.recipe.contests import gather_contests
from polygraft.recipe.examples import gather_examples
from polygraft.recipe.losses import find_losses, load_losses
from polygraft.recipe.means import gather_means
from polygraft.recipe.methods import read_levels
from polygraft.recipe.names import show_task
from polygraft.recipe.packing import read_packed
from polygraft.recipe.provenance import list_data
from polygraft.recipe.score import SCORES, Scored, Scores, load_labels, load_other_seeds, load_scores
from polygraft.recipe.workshop import describe_machine, list_versions
from polygraft.report.page import write_report
from polygraft.report.provenance import name_notes
from polygraft.report.summary import (
    BaseSummary,
    GraftSummary,
    RunSummary,
    StepSummary,
    summary_to_json,
)
from polygraft.store.files import replace_file

if TYPE_CHECKING:
    from polygraft.base.base import Base
    from polygraft.evaluate.language_loss import TextLosses
    from polygraft.evaluate.overlap import Overlap
    from polygraft.recipe.events import StepKind
    from polygraft.recipe.schema import Recipe
    from polygraft.recipe.steps import Job
    from polygraft.recipe.workshop import Workshop
    from polygraft.store.manifest import Manifest

RESULTS = "results.json"
REPORT = "report.html"
LOSSES = "losses.csv"


@dataclass(frozen=True, kw_only=True)
class Turn:
    """The steps of one variant of a recipe, and what they share."""

    workshop: Workshop
    jobs: Sequence[Job]
    """Those that are its own to do."""
    all_jobs: Sequence[Job]
    """These, and those that an earlier turn does for it."""


def find_scores(recipe: Recipe) -> Path:
    """Give the folder of what scoring steps gave."""
    return recipe.folder / SCORES


def summarise(
    recipe: Recipe,
    turns: Sequence[Turn],
    *,
    steps: Sequence[StepSummary] = (),
) -> RunSummary:
    """Gather the grafts of a run and its scores, also of steps that were not asked for now.

    Args:
        recipe: As it was read.
        turns: Its variants.
        steps: What each step was expected to take, and took, now or in an earlier sitting.
    """
    base = turns[0].workshop.base
    scored: list[Scored] = []
    others: list[Scored] = []
    found: list[Scores] = []
    for turn in turns:
        for job, kept in _load_scores(turn, "evaluate"):
            scores = complete_scores(turn.workshop, job, kept, folder=find_scores(recipe))
            scored.append(_load_labels(turn, job, job.digest, scores))
            found.append(_name(turn, job, scores))
            # A recipe with one seed also shows what it gave with others before.
            for digest, each in () if recipe.seeds else load_other_seeds(find_scores(recipe), job):
                others.append(_load_labels(turn, job, digest, each))
                found.append(_name(turn, job, each))
    again = [_name(turn, job, scores) for turn in turns for job, scores in _load_scores(turn, "recheck")]
    return RunSummary(
        name=recipe.name,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        recipe_text=recipe.text,
        command=shlex.join(["polygraft", *sys.argv[1:]]),
        base=summarise_base(base),
        grafts=tuple(_summarise_grafts(turns)),
        results=tuple(result for each in found for result in each.results),
        rechecks=tuple(result for each in again for result in each.results),
        means=tuple(gather_means([*scored, *others])),
        contests=tuple(gather_contests(scored) if len(recipe.methods) > 1 else ()),
        text_losses=tuple(_gather_losses(turns)),
        gains=tuple(gain for each in found for gain in each.gains),
        overlaps=tuple(_gather_overlaps(found)),
        examples=tuple(gather_examples(scored)),
        versions=list_versions(),
        machine=describe_machine(base),
        seconds=sum(step.seconds for step in steps if step.seconds is not None),
        predicted_seconds=_add_expected(steps),
        num_sittings=max(1, len({sitting for step in steps for sitting in step.sittings})),
        notes=name_notes(result for each in found for result in each.results),
        steps=tuple(steps),
        data=list_data([turn.workshop.corpus for turn in turns]),
    )


def _add_expected(steps: Sequence[StepSummary]) -> float | None:
    """Add up what the steps that were done were expected to take; None where that is not known of one."""
    expected = [step.predicted_seconds for step in steps if step.seconds is not None]
    known = [seconds for seconds in expected if seconds is not None]
    return sum(known) if known and len(known) == len(expected) else None


def _gather_overlaps(found: Sequence[Scores]) -> list[Overlap]:
    """Give how alike tests and texts are, once: no method and no seed changes that."""
    overlaps = [overlap for scores in found for overlap in scores.overlaps]
    return list({(each.task, each.source, each.language): each for each in overlaps}.values())


def _gather_losses(turns: Sequence[Turn]) -> list[TextLosses]:
    """Give what was measured of texts, once where several variants share their language grafts."""
    found: dict[str, TextLosses] = {}
    for turn in turns:
        recipe = turn.workshop.recipe
        for job in turn.all_jobs:
            losses = load_losses(find_losses(recipe), job.digest) if job.kind == "losses" else None
            if losses is not None:
                named = dataclasses.replace(losses, method=recipe.variant.method)
                found.setdefault(job.digest, named)
    return list(found.values())


def _load_scores(turn: Turn, kind: StepKind) -> list[tuple[Job, Scores]]:
    """Give the scoring steps of a turn that were done, now or before, with what they gave."""
    folder = find_scores(turn.workshop.recipe)
    found = [(job, load_scores(folder, job.digest)) for job in turn.all_jobs if job.kind == kind]
    return [(job, scores) for job, scores in found if scores is not None]


def _load_labels(turn: Turn, job: Job, digest: str, scores: Scores) -> Scored:
    labels = load_labels(find_scores(turn.workshop.recipe), digest)
    return Scored(workshop=turn.workshop, job=job, scores=scores, labels=labels)


def _name(turn: Turn, job: Job, scores: Scores) -> Scores:
    return name_scores(turn.workshop.recipe, job, scores)


def _summarise_grafts(turns: Sequence[Turn]) -> list[GraftSummary]:
    """List the grafts of all turns, those that several share once."""
    found: dict[tuple[str, int, bool], GraftSummary] = {}
    for turn in turns:
        recipe = turn.workshop.recipe
        roles = {job.graft: job for job in turn.all_jobs if job.graft is not None}
        for name, manifest in turn.workshop.manifests.items():
            key = (name, manifest.version, recipe.variant.is_copy)
            found.setdefault(key, _summarise_graft(manifest, roles.get(name), recipe=recipe))
    return list(found.values())


def summarise_base(base: Base) -> BaseSummary:
    """Say what a report tells of a base; a full copy is counted in float32, as it would be stored."""
    return BaseSummary(
        name=base.name,
        fingerprint=base.fingerprint,
        num_parameters=base.num_parameters,
        num_bytes=base.num_parameters * 4,
        family=base.sites.family.name,
    )


def _summarise_graft(manifest: Manifest, job: Job | None, *, recipe: Recipe) -> GraftSummary:
    cost = manifest.cost
    kind = "task" if job is None else job.kind
    return GraftSummary(
        name=manifest.name,
        version=manifest.version,
        role="head" if kind == "mlm" else kind,
        task=None if job is None or job.task is None else show_task(recipe.tasks, job.task),
        method=recipe.variant.method if kind == "task" else "",
        seed=recipe.seed if kind == "task" else recipe.text_seed,
        is_copy=recipe.variant.is_copy,
        after=None if job is None else job.after,
        language=None if job is None else job.language,
        plan=manifest.trained_under,
        kinds=tuple(part.kind for part in manifest.parts),
        num_parameters=manifest.num_parameters,
        num_bytes=manifest.num_bytes,
        seconds=cost.get("seconds", 0.0),
        tokens=int(cost.get("tokens", 0)),
        tokens_per_second=cost.get("tokens_per_second", 0.0),
        peak_memory_bytes=int(cost.get("peak_memory_bytes", 0)),
        peak_memory_above_start_bytes=_read_count(cost, "peak_memory_above_start_bytes"),
        padding=cost.get("padding"),
        looked_up=cost.get("looked_up"),
        cache_memory_bytes=_read_count(cost, "cache_memory_bytes"),
        cache_file_bytes=_read_count(cost, "cache_file_bytes"),
        steps=int(str(manifest.hyperparameters.get("steps_done", 0))),
        curve=manifest.curve,
        scores=manifest.scores,
        sha256=manifest.sha256,
        levels=read_levels(manifest.hyperparameters),
        packed=read_packed(manifest.hyperparameters),
    )


def _read_count(cost: Mapping[str, float], key: str) -> int | None:
    return int(cost[key]) if key in cost else None


def write_results(summary: RunSummary, folder: Path) -> Path:
    """Write a summary as JSON, CSV and a page into the run's folder, and give the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / RESULTS, summary_to_json(summary).encode())
    replace_file(folder / "results.csv", results_to_csv(summary.results, means=summary.means).encode())
    if summary.text_losses:
        replace_file(folder / LOSSES, losses_to_csv(summary.text_losses).encode())
    report = folder / REPORT
    write_report(summary, report)
    return report
