"""Runs a recipe: plans its steps, skips what is done, and writes what came out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from polygraft.base.load import load_base
from polygraft.errors import BaseModelError, PolygraftError, RecipeError, nearest
from polygraft.evaluate.language_loss import TextLosses
from polygraft.evaluate.run import find_max_length
from polygraft.recipe.comparison import list_variants
from polygraft.recipe.corpus import Corpus
from polygraft.recipe.events import (
    Event,
    Noted,
    RunFinished,
    RunPlanned,
    StepFinished,
    StepSkipped,
    StepStarted,
    TrainStep,
)
from polygraft.recipe.fit import fit
from polygraft.recipe.gold import keep_gold
from polygraft.recipe.losses import find_losses, load_losses, measure_losses, save_losses
from polygraft.recipe.meter import Meter
from polygraft.recipe.planning import plan_run
from polygraft.recipe.preflight import check_places, check_recipe
from polygraft.recipe.recheck import recheck_tasks
from polygraft.recipe.score import Labelled, Scores, load_scores, save_labels, save_scores, score_task
from polygraft.recipe.step_list import summarise_steps
from polygraft.recipe.steps import Job, list_jobs, select_jobs
from polygraft.recipe.summarise import REPORT, RESULTS, Turn, find_scores, summarise, write_results
from polygraft.recipe.taken import find_taken
from polygraft.recipe.workshop import Workshop
from polygraft.report.summary import summary_from_json
from polygraft.store.files import locked_alone
from polygraft.store.store import Store
from polygraft.train.loop import Interrupted

if TYPE_CHECKING:
    from polygraft.base.base import Base
    from polygraft.evaluate.result import Result
    from polygraft.recipe.schema import Recipe
    from polygraft.store.manifest import Manifest

SCORING = ("losses", "evaluate", "recheck")
"""Steps that train nothing."""
OF_TASKS = ("evaluate", "recheck")
"""Those whose results each variant has of its own, even where another one's are the same."""
REHEARSAL_SECONDS = 20.0
"""How long a run tries what its steps will take before it begins; a dry run tries everything."""
COPIES = "copies"
"""Where full copies of the base go, in the run's folder."""


def never() -> bool:
    """Do not stop."""
    return False


def run_recipe(
    recipe: Recipe,
    *,
    only: Sequence[str] = (),
    dry_run: bool = False,
    should_stop: Callable[[], bool] = never,
) -> Generator[Event]:
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
    began = datetime.now(UTC).isoformat(timespec="milliseconds")
    base = load_base(recipe.base, device=recipe.device, dtype=recipe.dtype, revision=recipe.revision)
    before = (base.compute_fingerprint(), base.compute_head_fingerprint())
    turns = _prepare(recipe, base, should_stop)
    jobs = [job for turn in turns for job in turn.jobs]
    _check_only(jobs, only)
    chosen = _choose(turns, only)
    processes = turns[0].workshop.processes
    if processes.launch.is_first and not dry_run:
        # Before the steps are tried out, which takes a while.
        for turn in chosen:
            check_places(turn.workshop, turn.jobs)
    done = {job.name for turn in turns for job in turn.jobs if _is_done(turn.workshop, job)}
    # Before one of several processes adds something to it.
    processes.wait()
    plan = plan_run(chosen, done, most_seconds=None if dry_run else REHEARSAL_SECONDS)
    yield RunPlanned(plan=plan, folder=recipe.folder)
    if dry_run:
        return
    if not processes.launch.is_first:
        # The first one writes for all.
        yield from _run_turns(chosen, done, Meter(plan))
        return
    recipe.folder.mkdir(parents=True, exist_ok=True)
    with _alone(recipe.folder):
        taken = find_taken(recipe.folder)
        yield from _run_turns(chosen, done, Meter(plan, folder=taken, began=began))
        if (base.compute_fingerprint(), base.compute_head_fingerprint()) != before:
            raise BaseModelError(
                f"The weights of '{base.name}' are not what they were before the run. This should never happen. Do not "
                "use the grafts of this run, and report it."
            )
        yield Noted(sentence="The base is unchanged, bit for bit.")
        jobs_of = [(turn.workshop, job) for turn in turns for job in turn.jobs]
        steps = summarise_steps(jobs_of, plan.steps, folder=taken)
        summary = summarise(recipe, turns, steps=steps)
        if not summary.results and _has_results(recipe.folder):
            yield Noted(
                sentence="No scores belong to the recipe as it is now. The results of an earlier run in "
                f"{recipe.folder} were left as they are; run the recipe without --only to renew them."
            )
            report = recipe.folder / REPORT
        else:
            report = write_results(summary, recipe.folder)
            keep_gold([turn.workshop.corpus for turn in turns], folder=recipe.folder)
    yield RunFinished(summary=summary, folder=recipe.folder, report=report)


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Keep other runs out of a run's folder: two would remove each other's checkpoints."""
    refusal = RecipeError(
        f"Another run is at work in {folder}. Expected one at a time, because they would remove each other's "
        "checkpoints. Wait for it or end it, or give this recipe another `name`."
    )
    with locked_alone(folder, refusal=refusal):
        yield


def _prepare(recipe: Recipe, base: Base, should_stop: Callable[[], bool]) -> list[Turn]:
    """List the variants of a recipe with their steps; a step that several share stands with the first."""
    corpus = Corpus(recipe=recipe, tokenizer=base.tokenizer, longest=find_max_length(base))
    turns: list[Turn] = []
    known: set[tuple[str, str]] = set()
    for variant in list_variants(recipe):
        is_copy = variant.variant.is_copy
        workshop = Workshop(
            recipe=variant,
            base=base,
            store=Store(recipe.folder / COPIES if is_copy else recipe.store),
            corpus=corpus.share(variant),
            should_stop=should_stop,
        )
        workshop.corpus.notify = workshop.sentences.append
        check_recipe(variant, base, workshop.corpus)
        jobs = list_jobs(variant, base, workshop.corpus)
        own = [job for job in jobs if job.kind in OF_TASKS or (job.digest, job.graft or "") not in known]
        known.update((job.digest, job.graft or "") for job in jobs)
        turns.append(Turn(workshop=workshop, jobs=own, all_jobs=jobs))
    return turns


def _choose(turns: Sequence[Turn], only: Sequence[str]) -> list[Turn]:
    """Give the turns with those of their steps that were asked for."""
    return [dataclasses.replace(turn, jobs=select_jobs(turn.jobs, only)) for turn in turns]


def _run_turns(turns: Sequence[Turn], done: set[str], meter: Meter) -> Iterator[Event]:
    """Run the steps of every variant; each lets go of its grafts before the next begins."""
    count, index = sum(len(turn.jobs) for turn in turns), 1
    for turn in turns:
        for job in turn.all_jobs:
            # What an earlier turn made for both.
            if job.kind not in SCORING and job.graft not in turn.workshop.manifests:
                turn.workshop.find(job.digest, job.graft or "")
        yield from _run_steps(turn.workshop, turn.jobs, done, meter, start=index, count=count)
        index += len(turn.jobs)
        if len(turns) > 1:
            turn.workshop.release()


def _run_steps(
    workshop: Workshop, chosen: Sequence[Job], done: set[str], meter: Meter, *, start: int, count: int
) -> Iterator[Event]:
    is_first = workshop.processes.launch.is_first
    if is_first:
        workshop.settle_names()
    yield from _note(workshop)
    for index, job in enumerate(chosen):
        if job.name in done:
            reason = "done by an earlier run"
            yield StepSkipped(name=job.name, index=start + index, count=count, reason=reason)
            continue
        if workshop.processes.agree(on=workshop.should_stop()):
            raise Interrupted(
                f"The run was stopped before the step '{job.name}', and all steps before it are saved. Give the same "
                "command again to go on."
            )
        if is_first or job.kind not in SCORING:
            yield from _do(workshop, job, meter, index=start + index, count=count)
        workshop.let_go_of_caches(each for each in chosen[index + 1 :] if each.name not in done)


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
    if job.kind == "losses":
        return load_losses(find_losses(workshop.recipe), job.digest) is not None
    if job.kind in SCORING:
        return load_scores(find_scores(workshop.recipe), job.digest) is not None
    is_there = workshop.find(job.digest, job.graft or "")
    if workshop.recipe.variant.label:
        # Those of all variants together may be too many to hold.
        workshop.release()
    return is_there


def _has_results(folder: Path) -> bool:
    """Whether an earlier run wrote scores there; a file that cannot be read counts as none."""
    try:
        return bool(summary_from_json((folder / RESULTS).read_text(encoding="utf-8")).results)
    except (OSError, ValueError, PolygraftError):
        return False


def _do(workshop: Workshop, job: Job, meter: Meter, *, index: int, count: int) -> Iterator[Event]:
    yield StepStarted(name=job.name, kind=job.kind, description=job.description, index=index, count=count)
    folder = find_losses(workshop.recipe) if job.kind == "losses" else find_scores(workshop.recipe)
    with meter.measure(workshop, job, scores=folder):
        if job.kind == "losses":
            outcome = yield from _measure(workshop, job)
        elif job.kind in SCORING:
            outcome = yield from _score(workshop, job)
        else:
            with closing(fit(workshop, job)) as steps:
                for step in steps:
                    meter.watch()
                    yield from _note(workshop)
                    yield TrainStep(name=job.name, step=step)
            yield from _note(workshop)
            outcome = _describe(workshop.manifests[cast("str", job.graft)])
    yield StepFinished(name=job.name, seconds=meter.tell(job), summary=outcome, left=meter.guess_left())


def _score(workshop: Workshop, job: Job) -> Generator[Noted, None, str]:
    """Do a scoring step, and say what came of it."""
    score = score_task if job.kind == "evaluate" else recheck_tasks
    outcome = ""
    for item in score(workshop, job):
        if isinstance(item, Labelled):
            save_labels(find_scores(workshop.recipe), job.digest, item.labels)
        elif isinstance(item, Scores):
            save_scores(find_scores(workshop.recipe), job.digest, item)
            outcome = f"{len(item.results)} scores"
        else:
            yield from _note(workshop)
            yield Noted(sentence=_tell(item))
    return outcome


def _measure(workshop: Workshop, job: Job) -> Generator[Noted, None, str]:
    """Do a step that measures texts, and say what came of it."""
    outcome = ""
    for item in measure_losses(workshop, job):
        if isinstance(item, TextLosses):
            save_losses(find_losses(workshop.recipe), job.digest, item)
            outcome = f"{len(item.losses)} losses"
        else:
            under = f"the graft of {item.of}" if item.of else "no language graft"
            yield Noted(
                sentence=f"text {item.language}, {under}: loss {item.loss:.3f} ({item.gain:+.3f} gained)"
            )
    return outcome


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
