"""The training steps of a run: what all languages share, languages, tasks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft, make_graft
from polygraft.attach.plan import Named, Plan, Stack, stack_names
from polygraft.recipe.bench import Bench
from polygraft.recipe.corpus import describe_one_line, find_labels
from polygraft.recipe.fit_sparse import fit_by_method
from polygraft.recipe.grafts import (
    list_language_parts,
    list_layers_above,
    list_mlm_parts,
    list_task_parts,
    make_task_head,
)
from polygraft.recipe.learned import count_taken
from polygraft.recipe.objectives import (
    make_held_out_loss,
    make_labelling,
    make_recipe_objective,
    score_examples,
)
from polygraft.recipe.outcome import Label
from polygraft.recipe.record import describe_text, record_training
from polygraft.recipe.scale import scale_graft
from polygraft.recipe.steps import find_source
from polygraft.recipe.workshop import Workshop
from polygraft.store.manifest import DataRecord, Manifest
from polygraft.train.checkpoint import Checkpoints
from polygraft.train.loop import Training
from polygraft.types import TEXT_OBJECTIVES

if TYPE_CHECKING:
    from polygraft.attach.attach import Attachment
    from polygraft.parts.head import Head
    from polygraft.recipe.steps import Job
    from polygraft.store.fields import JsonValue
    from polygraft.train.causal import CausalLm
    from polygraft.train.mlm import MaskedLm
    from polygraft.train.objective import Objective
    from polygraft.train.settings import TrainSettings
    from polygraft.train.step import Step


def fit(workshop: Workshop, job: Job) -> Generator[Step]:
    """Train the graft of a step and store it, telling every update."""
    if job.kind == "mlm":
        yield from fit_mlm(workshop, job)
    elif job.kind == "language":
        yield from fit_language(workshop, job)
    else:
        yield from fit_task(workshop, job)


def fit_mlm(workshop: Workshop, job: Job) -> Iterator[Step]:
    """Train the head that scores pieces of a base that has none, with the bottleneck below it, on all languages."""
    recipe, base, corpus = workshop.recipe, workshop.base, workshop.corpus
    settings = recipe.train.mlm
    name = cast("str", job.graft)
    graft = make_graft(base, name, list_mlm_parts(recipe, base), seed=recipe.text_seed)
    text = corpus.read_mixed()
    whole = sum(corpus.read_language(name).train.num_tokens for name in recipe.languages)
    if text.num_tokens < whole:
        workshop.sentences.append(
            f"The {TEXT_OBJECTIVES[base.guesses]} head is learned from {text.num_tokens:,} of the languages' "
            f"{whole:,} tokens: of each "
            "language at most twice as many as the smallest text has."
        )
    objective = make_recipe_objective(recipe, base, text, mask_rate=settings.mask_rate)
    train = recipe.train.plan_training(settings, seed=recipe.text_seed)
    training = _make_training(workshop, job, graft, [Named(name)], {name: graft}, objective, train)
    yield from training.run()
    manifest = record_training(
        training,
        graft=graft,
        objective=workshop.base.guesses,
        data=_list_texts(workshop, recipe.languages),
        members=[],
        step=job.digest,
        further={
            "rows": recipe.train.language.rows,
            **_describe_masking(workshop, settings.mask_rate),
        },
    )
    _keep(workshop, training, graft, manifest)


def fit_language(workshop: Workshop, job: Job) -> Iterator[Step]:
    """Train a language graft on plain text, below the frozen head that scores pieces."""
    settings, seed = workshop.recipe.train.language, workshop.recipe.text_seed
    name, language = cast("str", job.graft), cast("str", job.language)
    mlm = workshop.recipe.variant.name_mlm()
    plan: Plan = Named(name) if workshop.base.head is not None else Stack((Named(mlm), Named(name)))
    below = {} if workshop.base.head is not None else {mlm: workshop.get(mlm)}
    source = find_source(workshop.recipe)
    text = workshop.corpus.read_with_source(language, source)
    objective = make_recipe_objective(workshop.recipe, workshop.base, text, mask_rate=settings.mask_rate)
    train = workshop.recipe.train.plan_training(settings, seed=seed)
    evaluate = _find_held_out_loss(workshop, language, objective)
    texts = [language] if not settings.source_share or source in (None, language) else [language, source]
    label = Label(
        objective=workshop.base.guesses,
        data=_list_texts(workshop, texts),
        members=workshop.find_members([mlm]),
        further={
            "strength": settings.strength,
            **_describe_masking(workshop, settings.mask_rate),
            "source_share": settings.source_share,
            **describe_text(settings.rows, settings.vocabulary, settings.num_negatives),
        },
    )
    method = settings.find_method()
    if method is not None:
        skip = list_layers_above(workshop.recipe, workshop.base)
        bench = _make_bench(workshop, job, [plan], below, objective, train, evaluate, skip_layers=skip)
        yield from fit_by_method(
            workshop,
            job,
            method,
            bench=bench,
            label=label,
            finish=lambda graft: scale_graft(workshop, graft, settings.strength),
        )
        return
    parts = list_language_parts(workshop.recipe, workshop.base)
    graft = make_graft(workshop.base, name, parts, seed=seed)
    grafts = {**below, name: graft}
    training = _make_training(workshop, job, graft, [plan], grafts, objective, train, evaluate)
    yield from training.run()
    best, scores = training.progress.best, None
    stored = scale_graft(workshop, graft, settings.strength)
    if stored is not graft and evaluate is not None:
        with attach(workshop.base, plan, grafts={**grafts, name: stored}) as attachment:
            scores = {"held_out_loss": -evaluate(attachment), "held_out_loss_at_strength_1": -(best or 0.0)}
    manifest = record_training(
        training,
        graft=stored,
        objective=workshop.base.guesses,
        data=label.data,
        members=label.members,
        step=job.digest,
        scores=scores,
        further=label.further,
    )
    _keep(workshop, training, stored, manifest)


def _find_held_out_loss(
    workshop: Workshop, name: str, objective: MaskedLm | CausalLm
) -> Callable[[Attachment], float] | None:
    """Make what measures the loss on the lines kept apart; None, and a sentence, where there are none."""
    held_out = workshop.corpus.read_language(name).held_out
    if held_out is None:
        workshop.sentences.append(describe_one_line(workshop.recipe.languages[name].text))
        return None
    return make_held_out_loss(workshop.base, objective, held_out, seed=workshop.recipe.text_seed)


def _list_plans(workshop: Workshop, job: Job, name: str) -> tuple[list[Plan], dict[str, Graft]]:
    """List the plans that a task is trained under, and the frozen grafts that they name."""
    settings = workshop.recipe.train.task
    if job.below:
        return [stack_names([*job.below, name])], {each: workshop.get(each) for each in job.below}
    plans: list[Plan] = [stack_names([language, name]) for language in job.under]
    if settings.ready_for == "targets" or not plans:
        plans.append(Named(name))
    return plans, {
        language: scale_graft(workshop, workshop.get(language), settings.under_strength)
        for language in job.under
    }


def fit_task(workshop: Workshop, job: Job) -> Iterator[Step]:
    """Train a task graft on labels: alone, over language grafts, or packed over the tasks before it."""
    settings = workshop.recipe.train.task
    task = workshop.recipe.tasks[cast("str", job.task)]
    name = cast("str", job.graft)
    train_examples, dev = (workshop.corpus.read_examples(task, path) for path in (task.train, task.dev))
    labels = find_labels(train_examples, source=task.train)
    plans, under = _list_plans(workshop, job, name)
    parts = list_task_parts(workshop.recipe, task, labels)
    objective, sentence = make_labelling(
        workshop.base,
        train_examples,
        labels=labels,
        source=task.train,
        cache=workshop.share_cache(task.train),
        num_taken=count_taken(parts) + max((graft.num_taken for graft in under.values()), default=0),
    )
    if sentence is not None:
        workshop.sentences.append(sentence)
    train = workshop.recipe.train.plan_training(settings, seed=workshop.recipe.seed)

    def evaluate(attachment: Attachment) -> float:
        return score_examples(attachment, dev, task=name, language=task.source, condition="dev")[0].score

    sizes = {"train": len(train_examples), "dev": len(dev)}
    label = Label(
        objective=task.objective,
        data=[
            DataRecord(name=use, sha256=workshop.corpus.digest(path), num_examples=sizes[use])
            for use, path in (("train", task.train), ("dev", task.dev))
        ],
        members=workshop.find_members(under),
        further={} if job.after is None else {"goes_on_from": str(workshop.manifests[job.after].sha256)},
    )
    method = settings.find_method()
    if method is not None:
        bench = _make_bench(
            workshop,
            job,
            plans,
            under,
            objective,
            train,
            evaluate,
            head=make_task_head(task, labels),
            start=None if job.after is None else workshop.get(job.after),
            skip_layers=settings.skip_layers,
        )
        yield from fit_by_method(workshop, job, method, bench=bench, label=label)
        return
    graft = make_graft(workshop.base, name, parts, seed=workshop.recipe.seed)
    grafts = {name: graft, **under}
    training = _make_training(workshop, job, graft, plans, grafts, objective, train, evaluate)
    yield from training.run()
    manifest = record_training(
        training,
        graft=graft,
        objective=label.objective,
        data=label.data,
        members=label.members,
        step=job.digest,
    )
    _keep(workshop, training, graft, manifest)


def _describe_masking(workshop: Workshop, mask_rate: float) -> dict[str, JsonValue]:
    """Give how many pieces were hidden, as a hyperparameter; nothing where the next one was guessed."""
    return {"mask_rate": mask_rate} if workshop.base.guesses == "mlm" else {}


def _make_bench(
    workshop: Workshop,
    job: Job,
    plans: Sequence[Plan],
    below: Mapping[str, Graft],
    objective: Objective,
    settings: TrainSettings,
    evaluate: Callable[[Attachment], float] | None,
    *,
    head: Head | None = None,
    start: Graft | None = None,
    skip_layers: tuple[int, ...],
) -> Bench:
    return Bench(
        base=workshop.base,
        name=job.graft or job.name,
        below=below,
        plans=plans,
        objective=objective,
        settings=settings,
        evaluate=evaluate,
        head=head,
        start=start,
        skip_layers=skip_layers,
        folder=workshop.recipe.folder / "checkpoints" / job.name,
        key=job.digest,
        should_stop=workshop.should_stop,
        notify=workshop.sentences.append,
    )


def _make_training(
    workshop: Workshop,
    job: Job,
    graft: Graft,
    plans: Sequence[Plan],
    grafts: Mapping[str, Graft],
    objective: Objective,
    settings: TrainSettings,
    evaluate: Callable[[Attachment], float] | None = None,
) -> Training:
    folder = workshop.recipe.folder / "checkpoints" / job.name
    return Training(
        base=workshop.base,
        graft=graft,
        plans=plans,
        grafts=grafts,
        objective=objective,
        settings=settings,
        evaluate=evaluate,
        checkpoints=Checkpoints(folder, key=job.digest),
        should_stop=workshop.should_stop,
        notify=workshop.sentences.append,
    )


def _list_texts(workshop: Workshop, names: Iterable[str]) -> list[DataRecord]:
    """List the texts of some languages for a manifest."""
    corpus, languages = workshop.corpus, workshop.recipe.languages
    return [
        DataRecord(
            name=f"text {name}",
            sha256=corpus.digest(languages[name].text),
            num_examples=corpus.read_language(name).num_lines,
        )
        for name in names
    ]


def _keep(workshop: Workshop, training: Training, graft: Graft, manifest: Manifest) -> None:
    """Store what was trained, and then remove the checkpoints."""
    workshop.keep(graft, manifest)
    if training.checkpoints is not None:
        training.checkpoints.clear()
