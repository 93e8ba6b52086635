"""Which steps a recipe needs, and what each depends on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polygraft.recipe.controls import CONTROLS
from polygraft.recipe.data import TaskData
from polygraft.recipe.methods import BOTTLENECK
from polygraft.recipe.packing import list_below
from polygraft.recipe.schema import Recipe
from polygraft.recipe.train_tables import LanguageSettings, MlmSettings, TaskSettings
from polygraft.settings import load_launch
from polygraft.types import TEXT_OBJECTIVES

if TYPE_CHECKING:
    from polygraft.base.base import Base
    from polygraft.recipe.corpus import Corpus
    from polygraft.recipe.events import StepKind

FORM = 4
"""Raised when a step of the same digest would give other numbers than before."""
TASK_FORM = 3
"""The same for tasks and their scores alone: language grafts stay valid when it is raised."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One step of a run, with what it depends on."""

    name: str
    kind: StepKind
    description: str
    digest: str
    graft: str | None = None
    """Name of the graft that the step makes."""
    language: str | None = None
    task: str | None = None
    under: tuple[str, ...] = ()
    """Names of the language grafts that a task is trained on; empty for a task alone."""
    below: tuple[str, ...] = ()
    """Names of the grafts of the tasks that were packed into the same weights before, the first one first."""
    after: str | None = None
    """Name of the graft from whose values this one goes on."""
    label: str = ""
    """The variant that it belongs to, with which its name begins; empty where there is one."""
    family: str = ""
    """Digest without its seed of a step that trains or scores a task: the same for all seeds of one recipe."""


def list_ready_languages(recipe: Recipe, task: TaskData) -> tuple[str, ...]:
    """List the languages whose grafts a task is trained on, the source first."""
    if recipe.train.task.ready_for == "source":
        return (task.source,)
    return (task.source, *(name for name in recipe.languages if name in task.test and name != task.source))


def list_jobs(recipe: Recipe, base: Base, corpus: Corpus) -> list[Job]:
    """List the steps of a recipe, in an order in which each finds what it needs."""
    unseeded = dataclasses.replace(recipe.variant, text_seed=None if recipe.variant.text_seed is None else 0)
    seedless = _list_seeded(dataclasses.replace(recipe, seed=0, variant=unseeded), base, corpus)
    families = {job.name: job.digest for job in seedless if job.kind in ("task", "evaluate")}
    jobs = _list_seeded(recipe, base, corpus)
    if recipe.forgetting:
        jobs = _add_rechecks(recipe, jobs)
    named = [dataclasses.replace(job, family=families.get(job.name, "")) for job in jobs]
    variant = recipe.variant
    return [dataclasses.replace(job, name=variant.name_step(job.name), label=variant.label) for job in named]


def _list_seeded(recipe: Recipe, base: Base, corpus: Corpus) -> list[Job]:
    common = {
        "form": FORM,
        "base": base.fingerprint,
        "tokenizer": base.tokenizer_fingerprint,
        "dtype": f"torch.{base.dtype}",
        "seed": recipe.seed,
        **({} if base.head_fingerprint is None else {"head": base.head_fingerprint}),
        **({} if recipe.train.precision is None else {"precision": recipe.train.precision}),
        # Compiled layers differ in the last digits.
        **({"compile": True} if recipe.train.compile else {}),
        # Each process brings its own batches to an update.
        **({} if load_launch().count == 1 else {"processes": load_launch().count}),
    }
    jobs: list[Job] = []
    if recipe.train.task.packs or recipe.train.task.goes_on:
        digests: dict[str, str] = {}
        for name in recipe.tasks:
            trained, score = _make_in_order(recipe, corpus, common, name, digests)
            digests[name] = trained.digest
            jobs += [trained, score]
        return jobs
    if not recipe.variant.is_over:
        return [
            job
            for name, task in recipe.tasks.items()
            for job in _make_task(recipe, corpus, common, name, task, {})
        ]
    common_of_text = {**common, "seed": recipe.text_seed}
    mlm_digest = ""
    if base.head is None:
        jobs.append(_make_mlm(recipe, base, corpus, common_of_text))
        mlm_digest = jobs[-1].digest
    language_digests: dict[str, str] = {}
    for name in recipe.languages:
        job = _make_language(recipe, base, corpus, common_of_text, name, mlm_digest)
        language_digests[name] = job.digest
        jobs.append(job)
    if recipe.text_losses:
        jobs.append(_make_losses(recipe, common_of_text, language_digests, mlm_digest))
    for name, task in recipe.tasks.items():
        jobs += _make_task(recipe, corpus, common, name, task, language_digests)
    return jobs


def _add_rechecks(recipe: Recipe, jobs: Sequence[Job]) -> list[Job]:
    """Put behind the scores of each task a step that scores all tasks before it again."""
    made: list[Job] = []
    scored: list[Job] = []
    for job in jobs:
        made.append(job)
        if job.kind != "evaluate" or job.task is None:
            continue
        if scored:
            names = ", ".join(f"'{each.task}'" for each in scored)
            made.append(
                Job(
                    name=f"recheck.{job.task}",
                    kind="recheck",
                    description=f"scores of {names} again, after '{job.task}'",
                    digest=_hash({}, kind="recheck", scores=[each.digest for each in (*scored, job)]),
                    task=job.task,
                )
            )
        scored.append(job)
    return made


def find_source(recipe: Recipe) -> str | None:
    """Give the source language of the recipe's tasks, or None without a task."""
    return next((task.source for task in recipe.tasks.values()), None)


def _make_mlm(recipe: Recipe, base: Base, corpus: Corpus, common: Mapping[str, Any]) -> Job:
    head = f"{TEXT_OBJECTIVES[base.guesses]} head"
    made = f"{head} and bottleneck" if recipe.train.mlm.reduction else head
    # The steps of the languages score the same pieces of the same rows.
    language = recipe.train.language
    return Job(
        name="mlm",
        kind="mlm",
        description=f"{made} on text of {', '.join(recipe.languages)}",
        digest=_hash(
            common,
            kind="mlm",
            settings=_describe_settings(recipe.train.mlm),
            max_length=language.max_length,
            held_out=language.held_out,
            text=[_describe_text(recipe, corpus, name) for name in recipe.languages],
            vocabulary=language.vocabulary,
            negatives=language.num_negatives,
            **({} if language.rows == "sentences" else {"rows": language.rows}),
        ),
        graft=recipe.variant.name_mlm(),
    )


def _make_language(
    recipe: Recipe, base: Base, corpus: Corpus, common: Mapping[str, Any], name: str, mlm_digest: str
) -> Job:
    source = find_source(recipe) if recipe.train.language.source_share else None
    graft, text = recipe.variant.name_language(name), recipe.languages[name].text
    return Job(
        name=f"language.{name}",
        kind="language",
        description=f"language graft '{graft}' by {TEXT_OBJECTIVES[base.guesses]} on {text.name}",
        digest=_hash(
            common,
            kind="language",
            settings=_describe_settings(recipe.train.language),
            text=_describe_text(recipe, corpus, name),
            source=_describe_text(recipe, corpus, source) if source else None,
            mlm=mlm_digest,
        ),
        graft=graft,
        language=name,
    )


def _make_losses(
    recipe: Recipe, common: Mapping[str, Any], languages: Mapping[str, str], mlm_digest: str
) -> Job:
    """Make the step that measures every text with every language graft; the digests of these know the texts."""
    return Job(
        name="losses",
        kind="losses",
        description=f"losses of the text of {', '.join(languages)} with each language graft and with none",
        digest=_hash(common, kind="losses", languages=list(languages.items()), mlm=mlm_digest),
    )


def _make_task(
    recipe: Recipe,
    corpus: Corpus,
    common: Mapping[str, Any],
    name: str,
    task: TaskData,
    language_digests: Mapping[str, str],
) -> list[Job]:
    facts, variant = _describe_task(recipe, corpus, task), recipe.variant
    alone = Job(
        name=f"task.{name}-alone" if variant.is_over else f"task.{name}",
        kind="task",
        description=f"task graft '{variant.name_alone(name)}' on {task.source} labels, no language graft",
        digest=_hash(common, kind="task", under=[], **facts),
        graft=variant.name_alone(name),
        language=task.source,
        task=name,
    )
    if not variant.is_over:
        return [alone, _make_score(recipe, corpus, common, name, tasks=[alone.digest])]
    under = list_ready_languages(recipe, task)
    grafts = tuple(variant.name_language(language) for language in under)
    over = Job(
        name=f"task.{name}",
        kind="task",
        description=(
            f"task graft '{variant.name_task(name)}' on {task.source} labels, over the language grafts "
            f"{', '.join(grafts)}"
        ),
        digest=_hash(
            common,
            kind="task",
            under=[language_digests[key] for key in under],
            also_alone=recipe.train.task.ready_for == "targets",
            **facts,
        ),
        graft=variant.name_task(name),
        language=task.source,
        task=name,
        under=grafts,
    )
    languages = {key: language_digests.get(key) for key in task.test}
    trained = [alone, over] if variant.is_alone else [over]
    tasks = [job.digest for job in trained]
    further = _describe_controls(recipe, language_digests)
    if recipe.train.task.source_weight:
        further["source_weight"] = recipe.train.task.source_weight
    score = _make_score(recipe, corpus, common, name, tasks=tasks, languages=languages, **further)
    return [*trained, score]


def _make_in_order(
    recipe: Recipe, corpus: Corpus, common: Mapping[str, Any], name: str, digests: Mapping[str, str]
) -> tuple[Job, Job]:
    """Make the steps of a task that builds on those before it, of which `digests` tells.

    It is packed over them into one set of weights, or one copy of the base learns it after them.
    """
    task, below, variant = recipe.tasks[name], list_below(recipe, name), recipe.variant
    graft, before = variant.name_task(name), tuple(variant.name_task(each) for each in below)
    if packs := recipe.train.task.packs:
        made, place = f"task graft '{graft}'", f"packed over {', '.join(before)}" if below else "packed first"
    else:
        made, place = f"the copy '{graft}'", f"after {below[-1]}" if below else "first"
    trained = Job(
        name=f"task.{name}",
        kind="task",
        description=f"{made} on {task.source} labels, {place}",
        digest=_hash(
            common,
            kind="task",
            **{"packed" if packs else "after": [digests[each] for each in below]},
            **_describe_task(recipe, corpus, task),
        ),
        graft=graft,
        language=task.source,
        task=name,
        below=before if packs else (),
        after=before[-1] if before and not packs else None,
    )
    # The plan that scores of packed tasks tell names the tasks below.
    facts: dict[str, Any] = {"packed": below} if packs else {}
    return trained, _make_score(recipe, corpus, common, name, tasks=[trained.digest], **facts)


def _make_score(recipe: Recipe, corpus: Corpus, common: Mapping[str, Any], name: str, **facts: Any) -> Job:
    """Make the step that scores a task."""
    task = recipe.tasks[name]
    return Job(
        name=f"evaluate.{name}",
        kind="evaluate",
        description=f"scores of '{name}' in {', '.join(task.test)}",
        digest=_hash(
            common,
            kind="evaluate",
            name=name,
            source=task.source,
            tests={key: corpus.identify_examples(task, path) for key, path in task.test.items()},
            columns=task.columns,
            **facts,
        ),
        task=name,
    )


def _describe_controls(recipe: Recipe, languages: Mapping[str, str]) -> dict[str, Any]:
    """Give what the scores of controls depend on besides; nothing where there is none."""
    if not recipe.controls:
        return {}
    # All languages in their order, which says which is another one; their texts are in their digests.
    return {
        "controls": [name for name in CONTROLS if name in recipe.controls],
        "all_languages": list(languages.items()),
    }


def _describe_task(recipe: Recipe, corpus: Corpus, task: TaskData) -> dict[str, Any]:
    """Give what every graft of a task depends on."""
    # What `ready_for` leads to stands beside: the graft that is alone does not depend on it. `source_weight` is about
    # scores. Where the outputs of frozen layers are kept changes no number, unless they are rounded.
    left_out = ("ready_for", "source_weight", "cache", "cache_gib")
    described = _describe_settings(recipe.train.task)
    settings = {key: value for key, value in described.items() if key not in left_out}
    if recipe.train.task.cache == "half":
        settings["cache"] = "half"
    files = {"train": task.train, "dev": task.dev}
    return {
        "settings": settings,
        "files": {use: corpus.identify_examples(task, path) for use, path in files.items()},
        "columns": task.columns,
        "task_form": TASK_FORM,
    }


def _describe_settings(settings: MlmSettings | LanguageSettings | TaskSettings) -> dict[str, Any]:
    """Give the settings of a table; the method only where it changes weights, the parts where they are others."""
    found = dict(vars(settings))
    if not isinstance(settings, TaskSettings) and settings.accumulate == 1:
        # As before text could be accumulated.
        del found["accumulate"]
    if not settings.dropout:
        # As before there was dropout.
        del found["dropout"]
    if isinstance(settings, MlmSettings):
        return found
    if settings.method == BOTTLENECK:
        del found["method"], found["pruning"]
    if settings.part == BOTTLENECK:
        del found["part"], found["options"]
    if isinstance(settings, LanguageSettings) and settings.rows == "sentences":
        # As before lines could be joined.
        del found["rows"]
    return found


def _describe_text(recipe: Recipe, corpus: Corpus, name: str) -> list[Any]:
    language = recipe.languages[name]
    return [name, corpus.identify_text(name), language.max_lines]


def _hash(common: Mapping[str, Any], **facts: Any) -> str:
    text = json.dumps({**common, **facts}, sort_keys=True, default=_to_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _to_plain(value: Any) -> Any:
    if isinstance(value, Path):
        return value.name
    return dataclasses.asdict(value)


def select_jobs(jobs: Sequence[Job], only: Sequence[str]) -> list[Job]:
    """Give the jobs whose names, or the first parts of whose names, were asked for; all without `only`.

    The name of a variant's step may be given without the variant, and then means those of all.
    """
    if not only:
        return list(jobs)
    names = {job.name: (job.name, job.name.removeprefix(f"{job.label}.")) for job in jobs}
    return [
        job
        for job in jobs
        if any(f"{each}.".startswith(f"{name}.") for name in only for each in names[job.name])
    ]
