"""The scoring steps of a run: every test language under every condition."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from polygraft.attach.attach import attach
from polygraft.attach.plan import Named, Plan, Stack, stack_names
from polygraft.data.example import TaggedSentence
from polygraft.errors import PolygraftError
from polygraft.evaluate.gain import Gain
from polygraft.evaluate.overlap import Overlap
from polygraft.evaluate.result import Result
from polygraft.recipe.control_grafts import fetch_grafts
from polygraft.recipe.control_plans import list_controls
from polygraft.recipe.controls import NEAREST
from polygraft.recipe.gains import compare_conditions
from polygraft.recipe.names import show_task
from polygraft.recipe.objectives import score_examples
from polygraft.recipe.overlap import describe_overlap, measure_overlaps
from polygraft.recipe.packing import list_below
from polygraft.recipe.under import plan_under
from polygraft.report.reader import from_plain, to_plain
from polygraft.report.summary import ExampleSummary
from polygraft.store.files import replace_file
from polygraft.train.loop import Interrupted

if TYPE_CHECKING:
    from polygraft.evaluate.run import Predictions
    from polygraft.recipe.corpus import Examples
    from polygraft.recipe.schema import Recipe
    from polygraft.recipe.steps import Job
    from polygraft.recipe.workshop import Workshop

LABELS = ".labels.json.gz"
SCORES = "scores"
"""Where a run's folder has what scoring steps gave and what was predicted."""

LabelsByTest: TypeAlias = Mapping[str, Mapping[str, Sequence[Sequence[str]]]]
"""Predicted labels, a row a sentence, by language and condition."""


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """What a scoring step predicted."""

    labels: LabelsByTest


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a scoring step gave."""

    results: tuple[Result, ...]
    gains: tuple[Gain, ...]
    """Of the target's graft over every other condition; where there is none, of others' grafts over none."""
    overlaps: tuple[Overlap, ...] = ()
    """How alike each test is with the languages' texts, where the nearest one was looked for."""
    family: str = ""
    """Digest of the scoring step without its seed."""
    examples: tuple[ExampleSummary, ...] = ()
    """Only in files of older versions; today they are chosen from the labels of all methods together."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A scoring step that was done, now or before."""

    workshop: Workshop
    job: Job
    scores: Scores
    labels: LabelsByTest | None
    """What it predicted; None where that was not kept."""


def list_conditions(
    recipe: Recipe, name: str, language: str, *, nearest: str | None = None
) -> dict[str, Plan]:
    """List the plans under which a task is scored in a language, by condition.

    The last one is what the method is for: with the language's own graft, else with the source's.

    Args:
        recipe: A variant.
        name: The task.
        language: One of its tests'.
        nearest: The language whose text is nearest to the test; without it, that control is left out.
    """
    task, variant = recipe.tasks[name], recipe.variant
    if recipe.train.task.packs:
        packed = [*list_below(recipe, name), name]
        return {"task alone": stack_names([variant.name_task(each) for each in packed])}
    conditions: dict[str, Plan] = {}
    if variant.is_alone:
        conditions["task alone"] = Named(variant.name_alone(name))
    if variant.is_over:
        over = Named(variant.name_task(name))
        conditions["none"] = over
        conditions |= list_controls(recipe, name, language, nearest=nearest)
        conditions["source"] = Stack((plan_under(recipe, task, task.source), over))
        if language != task.source and language in recipe.languages:
            conditions["target"] = Stack((plan_under(recipe, task, language), over))
    return conditions


def score_task(workshop: Workshop, job: Job) -> Iterator[Result | Labelled | Scores]:
    """Score a task, telling each result, and at the end all of them with the labels.

    Raises:
        Interrupted: The run is to stop; the scores of this step so far are lost.
        RecipeError: A graft was not trained yet.
    """
    name = cast("str", job.task)
    task = workshop.recipe.tasks[name]
    results: list[Result] = []
    gains: list[Gain] = []
    overlaps: list[Overlap] = []
    labels: dict[str, Mapping[str, Sequence[Sequence[str]]]] = {}
    for language, path in task.test.items():
        sentences = workshop.corpus.read_examples(task, path)
        predictions: dict[str, Predictions] = {}
        scored: dict[str, Result] = {}
        overlap = find_overlap(workshop, name, language)
        if overlap is not None:
            overlaps.append(overlap)
            workshop.sentences += describe_overlap(overlap)
        plans = list_conditions(workshop.recipe, name, language, nearest=overlap and overlap.nearest)
        for condition, plan in plans.items():
            if workshop.should_stop():
                raise Interrupted(
                    f"The scoring of '{name}' was stopped after {len(results)} scores, which are not kept. All grafts "
                    "are. Give the same command again to score anew."
                )
            with attach(workshop.base, plan, grafts=fetch_grafts(workshop, plan)) as attachment:
                scored[condition], predictions[condition] = score_examples(
                    attachment,
                    sentences,
                    task=show_task(workshop.recipe.tasks, name),
                    language=language,
                    condition=condition,
                    seed=workshop.recipe.seed,
                )
            scored[condition] = replace(scored[condition], source=task.source)
            results.append(scored[condition])
            yield scored[condition]
        labels[language] = {condition: found.labels for condition, found in predictions.items()}
        gains += compare_conditions(list_gold(sentences), scored, labels[language])
    yield Labelled(labels=labels)
    yield Scores(results=tuple(results), gains=tuple(gains), overlaps=tuple(overlaps), family=job.family)


def find_overlap(workshop: Workshop, name: str, language: str) -> Overlap | None:
    """Say how alike a test is with each other language's text; None where nobody asks which is nearest."""
    recipe = workshop.recipe
    if NEAREST not in recipe.controls or not recipe.variant.is_over:
        return None
    task = recipe.tasks[name]
    return Overlap(
        task=show_task(recipe.tasks, name),
        source=task.source,
        language=language,
        by_language=measure_overlaps(workshop.corpus, task, language),
    )


def list_gold(examples: Examples) -> list[tuple[str, ...]]:
    """Give the right labels, a row an example: one a word, or one for a whole text."""
    return [item.tags if isinstance(item, TaggedSentence) else (item.label,) for item in examples]


def find_headline(recipe: Recipe, name: str, language: str) -> tuple[str, Plan]:
    """Give the condition that a method is judged by in a language, the last one, and its plan."""
    return list(list_conditions(recipe, name, language).items())[-1]


def save_scores(folder: Path, digest: str, scores: Scores) -> None:
    """Keep what a scoring step gave, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / f"{digest}.json", json.dumps(to_plain(scores), ensure_ascii=False).encode())


def save_labels(folder: Path, digest: str, labels: LabelsByTest) -> None:
    """Keep what a scoring step predicted, so that it can be compared with what others predict."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(labels, ensure_ascii=False, separators=(",", ":"))
    replace_file(folder / f"{digest}{LABELS}", gzip.compress(text.encode(), mtime=0))


def load_labels(folder: Path, digest: str) -> LabelsByTest | None:
    """Give what an earlier scoring step of the same digest predicted, or None if it cannot be read."""
    try:
        text = gzip.decompress((folder / f"{digest}{LABELS}").read_bytes()).decode()
        return cast(
            "LabelsByTest",
            from_plain(json.loads(text), dict[str, dict[str, tuple[tuple[str, ...], ...]]], place=digest),
        )
    except (OSError, ValueError, EOFError, PolygraftError):
        return None


def load_scores(folder: Path, digest: str) -> Scores | None:
    """Give what an earlier scoring step of the same digest gave, or None if it is not there or cannot be read."""
    path = folder / f"{digest}.json"
    try:
        return cast(
            "Scores", from_plain(json.loads(path.read_text(encoding="utf-8")), Scores, place=path.name)
        )
    except (OSError, ValueError, PolygraftError):
        # Scoring again gives the same numbers.
        return None


def load_other_seeds(folder: Path, job: Job) -> list[tuple[str, Scores]]:
    """Give what the same scoring step gave with other seeds, by seed, each with its digest."""
    paths = sorted(folder.glob("*.json")) if job.family else []
    found = [(path.stem, load_scores(folder, path.stem)) for path in paths if path.stem != job.digest]
    same = [
        (digest, scores)
        for digest, scores in found
        if scores is not None and scores.family == job.family and scores.results
    ]
    return sorted(same, key=lambda each: each[1].results[0].seed)
