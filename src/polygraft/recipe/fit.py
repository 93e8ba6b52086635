"""The training steps of a run: what all languages share, languages, tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft, copy_tensors, make_graft
from polygraft.attach.plan import Named, Plan, Stack
from polygraft.data.encode import encode_labelled, encode_tags
from polygraft.data.example import LabelledText, TaggedSentence
from polygraft.data.masking import Masking, corpus_vocabulary
from polygraft.evaluate.run import find_max_length, measure_masked_lm, score_tags, score_texts
from polygraft.parts.bottleneck import Bottleneck
from polygraft.recipe.corpus import describe_cut_rows, describe_one_line, find_labels, read_examples
from polygraft.recipe.grafts import list_language_parts, list_mlm_parts, list_task_parts
from polygraft.recipe.steps import find_source
from polygraft.recipe.workshop import MLM, Workshop
from polygraft.train.checkpoint import Checkpoints
from polygraft.train.labels import Labelling
from polygraft.train.loop import Training
from polygraft.train.mlm import MaskedLm

if TYPE_CHECKING:
    from polygraft.attach.attach import Attachment
    from polygraft.data.encode import EncodedText
    from polygraft.recipe.steps import Job
    from polygraft.train.objective import Objective
    from polygraft.train.settings import TrainSettings
    from polygraft.train.step import Step

MAX_LENGTH = 256
"""The most tokens of a labelled row that are learned from."""


def fit(workshop: Workshop, job: Job) -> Iterator[Step]:
    """Train the graft of a step and store it, telling every update."""
    if job.kind == "mlm":
        yield from fit_mlm(workshop, job)
    elif job.kind == "language":
        yield from fit_language(workshop, job)
    else:
        yield from fit_task(workshop, job)


def fit_mlm(workshop: Workshop, job: Job) -> Iterator[Step]:
    """Train the masked-LM head of a base that has none, with the bottleneck below it, on the text of all languages."""
    recipe, base, corpus = workshop.recipe, workshop.base, workshop.corpus
    settings = recipe.train.mlm
    graft = make_graft(base, MLM, list_mlm_parts(recipe, base), seed=recipe.seed)
    text = corpus.read_mixed()
    whole = sum(corpus.read_language(name).train.num_tokens for name in recipe.languages)
    if text.num_tokens < whole:
        workshop.sentences.append(
            f"The masked-LM head is learned from {text.num_tokens:,} of the languages' {whole:,} tokens: of each "
            "language at most twice as many as the smallest text has."
        )
    objective = _make_masked_lm(workshop, text, mask_rate=settings.mask_rate)
    train = recipe.train.plan_training(settings, seed=recipe.seed)
    training = _make_training(workshop, job, graft, [Named(MLM)], {MLM: graft}, objective, train)
    yield from training.run()
    facts = _list_facts(workshop, training, train, plan=Named(MLM), objective="mlm", text_of=recipe.languages)
    facts["hyperparameters"] |= {"mask_rate": settings.mask_rate}
    workshop.keep(graft, step=job.digest, **facts)
    _finish(training)


def fit_language(workshop: Workshop, job: Job) -> Iterator[Step]:
    """Train a language graft on plain text, below the frozen masked-LM head."""
    settings = workshop.recipe.train.language
    name = cast("str", job.language)
    parts = list_language_parts(workshop.recipe, workshop.base)
    graft = make_graft(workshop.base, name, parts, seed=workshop.recipe.seed)
    plan: Plan = Named(name) if workshop.base.head is not None else Stack((Named(MLM), Named(name)))
    grafts = {name: graft} if workshop.base.head is not None else {MLM: workshop.get(MLM), name: graft}
    source = find_source(workshop.recipe)
    text = workshop.corpus.read_with_source(name, source)
    objective = _make_masked_lm(workshop, text, mask_rate=settings.mask_rate)
    train = workshop.recipe.train.plan_training(settings, seed=workshop.recipe.seed)
    evaluate = _make_held_out_loss(workshop, name, text, objective)
    training = _make_training(workshop, job, graft, [plan], grafts, objective, train, evaluate)
    yield from training.run()
    best = training.progress.best
    scores = {} if best is None else {"held_out_loss": -best}
    stored = scale_bottlenecks(workshop, graft, settings.strength)
    if stored is not graft and evaluate is not None:
        with attach(workshop.base, plan, grafts={**grafts, name: stored}) as attachment:
            scores = {"held_out_loss": -evaluate(attachment), "held_out_loss_at_strength_1": -(best or 0.0)}
    texts = [name] if not settings.source_share or source in (None, name) else [name, source]
    facts = _list_facts(workshop, training, train, plan=plan, objective="mlm", text_of=texts)
    facts["hyperparameters"] |= {
        "strength": settings.strength,
        "mask_rate": settings.mask_rate,
        "source_share": settings.source_share,
    }
    workshop.keep(stored, step=job.digest, scores=scores, members=(MLM,), **facts)
    _finish(training)


def _make_held_out_loss(
    workshop: Workshop, name: str, text: EncodedText, objective: MaskedLm
) -> Callable[[Attachment], float] | None:
    """Make what measures the loss on the lines kept apart, larger being better; None where there are none."""
    held_out = workshop.corpus.read_language(name).held_out
    if held_out is None:
        workshop.sentences.append(describe_one_line(workshop.recipe.languages[name].text))
        return None
    vocabulary = None if objective.vocabulary is None else corpus_vocabulary_of(workshop, text, held_out)

    def evaluate(attachment: Attachment) -> float:
        return -measure_masked_lm(
            attachment, held_out, vocabulary=vocabulary, masking=Masking(), seed=workshop.recipe.seed
        ).loss

    return evaluate


def corpus_vocabulary_of(workshop: Workshop, *texts: EncodedText) -> Any:
    """Give the pieces of several texts together."""
    import torch

    special = workshop.base.special_ids
    return torch.cat([corpus_vocabulary(text, special_ids=special) for text in texts]).unique()


def scale_bottlenecks(workshop: Workshop, graft: Graft, strength: float) -> Graft:
    """Give a graft with the same values whose bottlenecks add that many times as much."""
    if strength == 1:
        return graft
    parts = [
        dataclasses.replace(part, scaling=part.scale * strength) if isinstance(part, Bottleneck) else part
        for part in graft.parts
    ]
    scaled = make_graft(workshop.base, graft.name, parts)
    copy_tensors(scaled, graft.tensors())
    scaled.layers.requires_grad_(False)
    return scaled


def fit_task(workshop: Workshop, job: Job) -> Iterator[Step]:
    """Train a task graft on labels, alone or over language grafts."""
    settings = workshop.recipe.train.task
    task = workshop.recipe.tasks[cast("str", job.task)]
    name = cast("str", job.graft)
    train_examples, dev = read_examples(task, task.train), read_examples(task, task.dev)
    labels = find_labels(train_examples, source=task.train)
    parts = list_task_parts(workshop.recipe, task, labels)
    graft = make_graft(workshop.base, name, parts, seed=workshop.recipe.seed)
    plans: list[Plan] = [Stack((Named(language), Named(name))) for language in job.under]
    if settings.ready_for == "targets" or not plans:
        plans.append(Named(name))
    under = {
        language: scale_bottlenecks(workshop, workshop.get(language), settings.under_strength)
        for language in job.under
    }
    grafts = {name: graft, **under}
    tokenizer, max_length = workshop.base.tokenizer, min(MAX_LENGTH, find_max_length(workshop.base))
    if task.objective == "sequence":
        texts = cast("list[LabelledText]", train_examples)
        encoded = encode_labelled(
            texts, tokenizer, labels=labels, max_length=max_length, source=task.train.name
        )
    else:
        sentences = cast("list[TaggedSentence]", train_examples)
        encoded = encode_tags(
            sentences, tokenizer, labels=labels, max_length=max_length, source=task.train.name
        )
    sentence = describe_cut_rows(encoded, source=task.train, max_length=max_length)
    if sentence is not None:
        workshop.sentences.append(sentence)
    objective = Labelling(encoded, cache=workshop.make_cache())
    train = workshop.recipe.train.plan_training(settings, seed=workshop.recipe.seed)

    def evaluate(attachment: Attachment) -> float:
        return score_examples(attachment, dev, task=name, language=task.source, condition="dev")[0].score

    training = _make_training(workshop, job, graft, plans, grafts, objective, train, evaluate)
    yield from training.run()
    data = {
        "train": (workshop.corpus.digest(task.train), len(train_examples)),
        "dev": (workshop.corpus.digest(task.dev), len(dev)),
    }
    facts = _list_facts(workshop, training, train, plan=plans[0], objective=task.objective, data=data)
    best = training.progress.best
    scores = {} if best is None else {"dev": best}
    workshop.keep(graft, step=job.digest, scores=scores, members=job.under, **facts)
    _finish(training)


def score_examples(
    attachment: Attachment, examples: Sequence[TaggedSentence] | Sequence[LabelledText], **names: Any
) -> tuple[Any, Any]:
    """Score a plan on tagged sentences or on labelled texts, whichever they are."""
    if isinstance(examples[0], LabelledText):
        return score_texts(attachment, cast("Sequence[LabelledText]", examples), **names)
    return score_tags(attachment, cast("Sequence[TaggedSentence]", examples), **names)


def _make_masked_lm(workshop: Workshop, text: EncodedText, *, mask_rate: float) -> MaskedLm:
    is_full = workshop.recipe.train.language.vocabulary == "full"
    vocabulary = None if is_full else corpus_vocabulary(text, special_ids=workshop.base.special_ids)
    return MaskedLm(text, vocabulary=vocabulary, masking=Masking(rate=mask_rate))


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


def _list_facts(
    workshop: Workshop,
    training: Training,
    settings: TrainSettings,
    *,
    plan: Plan,
    objective: str,
    text_of: Sequence[str] | Mapping[str, Any] = (),
    data: Mapping[str, tuple[str, int]] | None = None,
) -> dict[str, Any]:
    """List what a manifest says of a training."""
    corpus = workshop.corpus
    texts = {
        f"text {name}": (
            corpus.digest(workshop.recipe.languages[name].text),
            corpus.read_language(name).num_lines,
        )
        for name in text_of
    }
    progress = training.progress
    return {
        "trained_under": str(plan),
        "objective": objective,
        "data": data if data is not None else texts,
        "hyperparameters": {
            **{key: value for key, value in dataclasses.asdict(settings).items() if value is not None},
            "steps_done": progress.step,
            "processes": training.processes.launch.count,
            "plans": [str(plan) for plan in training.plans],
        },
        "curve": tuple(_orient(point, objective) for point in progress.curve),
        "cost": training.measure_cost(),
    }


def _orient(point: Mapping[str, float], objective: str) -> Mapping[str, float]:
    """Turn a held-out score of masked language modelling back into a loss."""
    return {**point, "dev": -point["dev"]} if objective == "mlm" and "dev" in point else point


def _finish(training: Training) -> None:
    if training.checkpoints is not None:
        training.checkpoints.clear()
