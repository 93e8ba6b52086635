"""Runs a recipe: plans its steps, skips what is done, and writes what came out."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from polygraft.base.load import load_base
from polygraft.errors import BaseModelError, PolygraftError, RecipeError, StoreError, nearest
from polygraft.evaluate.result import Result, results_to_csv
from polygraft.evaluate.run import find_max_length
from polygraft.recipe.corpus import Corpus
from polygraft.recipe.estimate import estimate_seconds, measure_speed
from polygraft.recipe.events import (
    Event,
    Noted,
    PlannedStep,
    RunFinished,
    RunPlan,
    RunPlanned,
    StepFinished,
    StepSkipped,
    StepStarted,
    TrainStep,
)
from polygraft.recipe.fit import fit
from polygraft.recipe.methods import read_levels
from polygraft.recipe.packing import read_packed
from polygraft.recipe.preflight import check_places, check_recipe
from polygraft.recipe.score import Scores, load_other_seeds, load_scores, save_scores, score_task
from polygraft.recipe.steps import Job, list_jobs, select_jobs
from polygraft.recipe.workshop import (
    MLM,
    Workshop,
    describe_machine,
    list_versions,
)
from polygraft.report.page import write_report
from polygraft.report.summary import BaseSummary, GraftSummary, RunSummary, summary_from_json, summary_to_json
from polygraft.store.files import locked, replace_file
from polygraft.store.store import Store
from polygraft.train.loop import Interrupted

if TYPE_CHECKING:
    from polygraft.base.base import Base
    from polygraft.recipe.schema import Recipe
    from polygraft.store.manifest import Manifest


RESULTS = "results.json"
REPORT = "report.html"


def never() -> bool:
    """Do not stop."""
    return False


def run_recipe(
    recipe: Recipe,
    *,
    only: Sequence[str] = (),
    dry_run: bool = False,
    should_stop: Callable[[], bool] = never,
) -> Iterator[Event]:
    """Run a recipe, telling what happens.

    Steps that an earlier run finished are skipped; one that was interrupted goes on where it was. Of several processes
    that a launcher started, all train and the first does the rest: the others' events end with the last step.

    Args:
        recipe: What to run.
        only: Names of steps, or their first parts (`language`, `task.ner`); empty runs all.
        dry_run: Whether to end after the plan.
        should_stop: Asked between updates; when true, a checkpoint is written and `Interrupted` raised.

    Raises:
        Interrupted: `should_stop` said so.
        RecipeError: A step is not known, or lacks what it needs.
    """
    started = time.perf_counter()
    base = load_base(recipe.base, device=recipe.device, dtype=recipe.dtype, revision=recipe.revision)
    before = (base.compute_fingerprint(), base.compute_head_fingerprint())
    corpus = Corpus(recipe=recipe, tokenizer=base.tokenizer, longest=find_max_length(base))
    workshop = Workshop(
        recipe=recipe, base=base, store=Store(recipe.store), corpus=corpus, should_stop=should_stop
    )
    corpus.notify = workshop.sentences.append
    check_recipe(recipe, base, corpus)
    jobs = list_jobs(recipe, base, corpus)
    chosen = select_jobs(jobs, only)
    _check_only(jobs, only)
    done = {job.name for job in jobs if _is_done(workshop, job)}
    # Before one of several processes adds something to it.
    workshop.processes.wait()
    plan = _plan(workshop, chosen, done)
    yield RunPlanned(plan=plan, folder=recipe.folder)
    if dry_run:
        return
    if not workshop.processes.launch.is_first:
        # The first one writes for all.
        yield from _run_steps(workshop, chosen, done)
        return
    check_places(workshop, chosen)
    with _alone(recipe.folder):
        yield from _run_steps(workshop, chosen, done)
        if (base.compute_fingerprint(), base.compute_head_fingerprint()) != before:
            raise BaseModelError(
                f"The weights of '{base.name}' are not what they were before the run. This should never happen. Do not "
                "use the grafts of this run, and report it."
            )
        yield Noted(sentence="The base is unchanged, bit for bit.")
        scores = _load_done(workshop, jobs)
        seconds = time.perf_counter() - started
        summary = _summarise(workshop, jobs, scores, seconds=seconds, predicted=plan.seconds)
        if not summary.results and _has_results(recipe.folder):
            yield Noted(
                sentence="No scores belong to the recipe as it is now. The results of an earlier run in "
                f"{recipe.folder} were left as they are; run the recipe without --only to renew them."
            )
            report = recipe.folder / REPORT
        else:
            report = write_results(summary, recipe.folder)
    yield RunFinished(summary=summary, folder=recipe.folder, report=report)


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Keep other runs out of a run's folder: two would remove each other's checkpoints."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder, seconds=0))
        except StoreError:
            raise RecipeError(
                f"Another run is at work in {folder}. Expected one at a time, because they would remove each other's "
                "checkpoints. Wait for it or end it, or give this recipe another `name`."
            ) from None
        yield


def _run_steps(workshop: Workshop, chosen: Sequence[Job], done: set[str]) -> Iterator[Event]:
    is_first = workshop.processes.launch.is_first
    if is_first:
        workshop.settle_names()
    yield from _note(workshop)
    for index, job in enumerate(chosen, start=1):
        if job.name in done:
            reason = "done by an earlier run"
            yield StepSkipped(name=job.name, index=index, count=len(chosen), reason=reason)
            continue
        if workshop.processes.agree(on=workshop.should_stop()):
            raise Interrupted(
                f"The run was stopped before the step '{job.name}', and all steps before it are saved. Give the same "
                "command again to go on."
            )
        if is_first or job.kind != "evaluate":
            yield from _do(workshop, job, index=index, count=len(chosen))
        workshop.let_go_of_caches(each for each in chosen[index:] if each.name not in done)


def _check_only(jobs: Sequence[Job], only: Sequence[str]) -> None:
    for name in only:
        if not select_jobs(jobs, [name]):
            known = [job.name for job in jobs]
            raise RecipeError(
                f"The recipe has no step '{name}'. Its steps are {', '.join(known)}.{nearest(name, known)} "
                "Correct the name."
            )


def _is_done(workshop: Workshop, job: Job) -> bool:
    """Whether a step was done before; takes its grafts from the store if so."""
    if job.kind == "evaluate":
        return load_scores(_scores_folder(workshop.recipe), job.digest) is not None
    return workshop.find(job.digest, job.graft or "")


def _load_done(workshop: Workshop, jobs: Sequence[Job]) -> dict[str, Scores]:
    """Give what scoring steps gave before, also those that are not asked for now: results hold them all."""
    folder = _scores_folder(workshop.recipe)
    found = {job.name: load_scores(folder, job.digest) for job in jobs if job.kind == "evaluate"}
    return {name: scores for name, scores in found.items() if scores is not None}


def _has_results(folder: Path) -> bool:
    """Whether an earlier run wrote scores there; a file that cannot be read counts as none."""
    try:
        return bool(summary_from_json((folder / RESULTS).read_text(encoding="utf-8")).results)
    except (OSError, ValueError, PolygraftError):
        return False


def _scores_folder(recipe: Recipe) -> Path:
    return recipe.folder / "scores"


def _plan(workshop: Workshop, jobs: Sequence[Job], done: set[str]) -> RunPlan:
    train = workshop.recipe.train
    with_weights = any(table.find_method() is not None for table in (train.language, train.task))
    is_new = any(job.name not in done for job in jobs)
    speed = measure_speed(workshop.base, with_weights=with_weights) if is_new else None
    return RunPlan(
        steps=tuple(
            PlannedStep(
                name=job.name,
                kind=job.kind,
                description=job.description,
                digest=job.digest,
                is_done=job.name in done,
                seconds=(
                    None if job.name in done or speed is None else estimate_seconds(workshop, job, speed)
                ),
            )
            for job in jobs
        )
    )


def _do(workshop: Workshop, job: Job, *, index: int, count: int) -> Iterator[Event]:
    started = time.perf_counter()
    yield StepStarted(name=job.name, kind=job.kind, description=job.description, index=index, count=count)
    outcome = ""
    if job.kind == "evaluate":
        for item in score_task(workshop, job):
            if isinstance(item, Scores):
                save_scores(_scores_folder(workshop.recipe), job.digest, item)
                outcome = f"{len(item.results)} scores"
            else:
                yield Noted(sentence=_tell(item))
    else:
        for step in fit(workshop, job):
            yield from _note(workshop)
            yield TrainStep(name=job.name, step=step)
        yield from _note(workshop)
        manifest = (
            workshop.manifests[job.graft or ""]
            if job.graft in workshop.manifests
            else workshop.manifests[MLM]
        )
        outcome = _describe(manifest)
    yield StepFinished(name=job.name, seconds=time.perf_counter() - started, summary=outcome)


def _note(workshop: Workshop) -> Iterator[Noted]:
    for sentence in workshop.tell_all():
        yield Noted(sentence=sentence)


def _tell(result: Result) -> str:
    interval = (
        ""
        if result.low is None or result.high is None
        else f" [{100 * result.low:.1f}, {100 * result.high:.1f}]"
    )
    return f"{result.task} {result.language}, {result.condition}: {result.metric} {100 * result.score:.1f}{interval}"


def _describe(manifest: Manifest) -> str:
    scores = ", ".join(f"{name} {value:.3f}" for name, value in manifest.scores.items())
    rate = manifest.cost.get("tokens_per_second", 0.0)
    text = (
        f"{manifest.name} version {manifest.version}, {manifest.num_bytes / 1e6:.1f} MB, {rate:,.0f} tokens/s"
    )
    return f"{text}, {scores}" if scores else text


def _summarise(
    workshop: Workshop,
    jobs: Sequence[Job],
    scores: Mapping[str, Scores],
    *,
    seconds: float,
    predicted: float | None,
) -> RunSummary:
    recipe, base = workshop.recipe, workshop.base
    roles = {job.graft: job for job in jobs if job.graft is not None}
    grafts = tuple(
        _summarise_graft(manifest, roles.get(name)) for name, manifest in workshop.manifests.items()
    )
    own = [scores[job.name] for job in jobs if job.name in scores]
    folder = _scores_folder(recipe)
    found = [
        each
        for job in jobs
        if job.name in scores
        for each in (scores[job.name], *load_other_seeds(folder, job))
    ]
    return RunSummary(
        name=recipe.name,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        recipe_text=recipe.text,
        command=shlex.join(["polygraft", *sys.argv[1:]]),
        base=summarise_base(base),
        grafts=grafts,
        results=tuple(result for each in found for result in each.results),
        gains=tuple(gain for each in found for gain in each.gains),
        examples=tuple(example for each in own for example in each.examples),
        versions=list_versions(),
        machine=describe_machine(base),
        seconds=seconds,
        predicted_seconds=predicted,
        notes=tuple(sorted({note for each in found for result in each.results for note in result.notes})),
    )


def summarise_base(base: Base) -> BaseSummary:
    """Say what a report tells of a base; a full copy is counted in float32, as it would be stored."""
    return BaseSummary(
        name=base.name,
        fingerprint=base.fingerprint,
        num_parameters=base.num_parameters,
        num_bytes=base.num_parameters * 4,
        family=base.sites.family.name,
    )


def _summarise_graft(manifest: Manifest, job: Job | None) -> GraftSummary:
    cost = manifest.cost
    return GraftSummary(
        name=manifest.name,
        version=manifest.version,
        role="head" if manifest.name == MLM else "task" if job is None else job.kind,
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
    """Write results.json, results.csv and report.html into the run's folder, and give the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / RESULTS, summary_to_json(summary).encode())
    replace_file(folder / "results.csv", results_to_csv(summary.results).encode())
    report = folder / REPORT
    write_report(summary, report)
    return report
