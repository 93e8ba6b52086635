"""How long steps will take, from a short calibration on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from polygraft.attach.attach import Attachment, attach
from polygraft.attach.graft import make_graft
from polygraft.attach.plan import Named
from polygraft.data.example import LabelledText
from polygraft.data.read import read_texts
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.delta import Delta
from polygraft.recipe.corpus import count_held_out
from polygraft.recipe.grafts import find_border, find_head_layer
from polygraft.recipe.methods import count_phases
from polygraft.recipe.packing import list_below
from polygraft.recipe.score import list_conditions
from polygraft.train.loop import NUM_EVALUATIONS

if TYPE_CHECKING:
    from pathlib import Path

    from polygraft.base.base import Base
    from polygraft.recipe.methods import Method
    from polygraft.recipe.steps import Job
    from polygraft.recipe.workshop import Workshop

TOKENS = 32
"""Length of the calibration's rows."""
SMALL, LARGE = 4, 24
"""Rows of its two batches: from two sizes follow the time of a batch and that of a token."""
LEAST_SECONDS = 0.15
"""A size is measured again until so much time has passed."""
REDUCTION = 2
"""Of the scratch bottleneck that is trained: that of language grafts."""
EVALUATION_TOKENS = 4096
PIECES_PER_WORD = 1.4
PIECES_PER_SENTENCE = 2
BYTES_PER_PIECE = 4.0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds of a kind of work."""

    batch: float
    """What each batch takes, however small."""
    token: float
    """What each token takes besides."""

    def estimate(self, *, num_batches: float, num_tokens: float) -> float:
        """Give the seconds of some batches with so many tokens together."""
        return num_batches * self.batch + num_tokens * self.token


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast a base computes on this machine."""

    forward: Cost
    """A forward pass through all layers."""
    update: Cost
    """A forward and a backward pass through all layers with a bottleneck in each."""
    weights: Cost | None = None
    """The same where the linear layers' own weights are trained; None where it was not asked for."""

    def find_update(self, method: Method | None) -> Cost:
        """Give what an update takes in all phases of a method together; None is that of bottlenecks."""
        if method is None or self.weights is None:
            return self.update
        num_phases = count_phases(method)
        return Cost(batch=num_phases * self.weights.batch, token=num_phases * self.weights.token)


def measure_speed(base: Base, *, with_weights: bool = False) -> Speed:
    """Time forward passes and updates of a scratch graft; takes one to three seconds on a base of usual size.

    Args:
        base: The base.
        with_weights: Whether to time updates of the base's weights as well.
    """
    graft = make_graft(base, "scratch", [Bottleneck(reduction=REDUCTION)])
    with attach(base, Named("scratch"), grafts=[graft]) as attachment:
        forward = fit_cost(lambda rows: _forward(attachment, rows))
        update = fit_cost(lambda rows: _update(attachment, rows))
    if not with_weights:
        return Speed(forward=forward, update=update)
    with attach(base, Named("scratch"), grafts=[make_graft(base, "scratch", [Delta()])]) as attachment:
        weights = fit_cost(lambda rows: _update(attachment, rows))
    return Speed(forward=forward, update=update, weights=weights)


def fit_cost(work: Callable[[int], None]) -> Cost:
    """Find what a batch and what a token takes, from work on some rows."""
    work(1)  # The first pass of all also prepares.
    small, large = _time(work, SMALL), _time(work, LARGE)
    token = (large - small) / ((LARGE - SMALL) * TOKENS)
    batch = small - token * SMALL * TOKENS
    if token <= 0 or batch < 0:
        return Cost(batch=0.0, token=large / (LARGE * TOKENS))
    return Cost(batch=batch, token=token)


def _time(work: Callable[[int], None], rows: int) -> float:
    started, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - started < LEAST_SECONDS:
        work(rows)
        count += 1
    return (time.perf_counter() - started) / count


def _make_rows(attachment: Attachment, rows: int) -> torch.Tensor:
    base = attachment.base
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, base.sites.vocab, (rows, TOKENS), generator=generator).to(base.device)


def _forward(attachment: Attachment, rows: int) -> None:
    input_ids = _make_rows(attachment, rows)
    with torch.inference_mode():
        hidden = attachment.run(input_ids, torch.ones_like(input_ids))
        float(hidden.sum())


def _update(attachment: Attachment, rows: int) -> None:
    input_ids = _make_rows(attachment, rows)
    hidden = attachment.run(input_ids, torch.ones_like(input_ids))
    hidden.float().square().mean().backward()


def estimate_seconds(workshop: Workshop, job: Job, speed: Speed) -> float:
    """Estimate the time of a step, with its scores on held-out data."""
    train = workshop.recipe.train
    num_layers = workshop.base.sites.num_layers
    share = find_head_layer(workshop.recipe, workshop.base) / num_layers
    if job.kind == "mlm":
        # Below the first bottleneck nothing is differentiated.
        below = find_border(workshop.recipe, workshop.base) / num_layers
        steps, tokens = train.mlm.steps, train.mlm.steps * train.mlm.batch_tokens
        forward, update = (
            cost.estimate(num_batches=steps, num_tokens=tokens) for cost in (speed.forward, speed.update)
        )
        return below * forward + (share - below) * update
    if job.kind == "language":
        steps, tokens = train.language.steps, train.language.steps * train.language.batch_tokens
        held_out = NUM_EVALUATIONS * _count_held_out(workshop, job.language or "")
        update = speed.find_update(train.language.find_method())
        return share * (update.estimate(num_batches=steps, num_tokens=tokens) + _score(speed, held_out))
    if job.kind == "evaluate":
        return _estimate_scores(workshop, job.task or "", speed)
    if job.kind == "recheck":
        before = list_below(workshop.recipe, job.task or "")
        return sum(_estimate_rechecks(workshop, name, speed) for name in before)
    return _estimate_task(workshop, job.task or "", speed)


def _estimate_task(workshop: Workshop, name: str, speed: Speed) -> float:
    settings, task = workshop.recipe.train.task, workshop.recipe.tasks[name]
    planned = settings.plan_training(seed=0)
    tokens = _count_pieces(workshop, name, task.train) * (planned.epochs or 0)
    if planned.steps is not None:
        tokens = float(planned.steps * planned.batch_tokens)
    dev = NUM_EVALUATIONS * _count_pieces(workshop, name, task.dev)
    cost = speed.find_update(settings.find_method())
    update = cost.estimate(num_batches=tokens / settings.batch_tokens, num_tokens=tokens)
    return update + _score(speed, dev)


def _estimate_scores(workshop: Workshop, name: str, speed: Speed) -> float:
    return sum(
        len(list_conditions(workshop.recipe, name, language))
        * _score(speed, _count_pieces(workshop, name, path))
        for language, path in workshop.recipe.tasks[name].test.items()
    )


def _estimate_rechecks(workshop: Workshop, name: str, speed: Speed) -> float:
    tests = workshop.recipe.tasks[name].test.values()
    return sum(_score(speed, _count_pieces(workshop, name, path)) for path in tests)


def _score(speed: Speed, num_tokens: float) -> float:
    return speed.forward.estimate(num_batches=num_tokens / EVALUATION_TOKENS, num_tokens=num_tokens)


def _count_pieces(workshop: Workshop, name: str, path: Path) -> float:
    """Guess the pieces of a labelled file from its words."""
    examples = workshop.corpus.read_examples(workshop.recipe.tasks[name], path)
    num_words = sum(
        len(example.text.split()) if isinstance(example, LabelledText) else len(example.tokens)
        for example in examples
    )
    return num_words * PIECES_PER_WORD + len(examples) * PIECES_PER_SENTENCE


def _count_held_out(workshop: Workshop, name: str) -> float:
    """Guess the pieces of the lines of a text that are kept apart, from their bytes."""
    language = workshop.recipe.languages[name]
    lines = read_texts(language.text, language.reading, max_lines=language.max_lines)
    num_bytes = sum(len(line.encode()) + 1 for line in lines)
    num_apart = count_held_out(len(lines), num_held_out=workshop.recipe.train.language.held_out)
    return num_apart * (num_bytes / len(lines) / BYTES_PER_PIECE + PIECES_PER_SENTENCE)
