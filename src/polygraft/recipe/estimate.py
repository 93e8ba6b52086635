"""How long steps will take, from a short calibration on this machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from polygraft.data.conll import read_conll
from polygraft.recipe.fit import DEFAULT_EPOCHS

if TYPE_CHECKING:
    from polygraft.base.base import Base
    from polygraft.recipe.schema import Recipe
    from polygraft.recipe.steps import Job

ROWS, TOKENS = 32, 32
TRAINING_FACTOR = 2.6
"""Time of a training step over that of a forward pass, as measured on the bundled base."""
PIECES_PER_WORD = 1.5


def measure_forward_rate(base: Base) -> float:
    """Measure the tokens a second of a forward pass through all layers; the median of three."""
    input_ids = torch.randint(0, base.sites.vocab, (ROWS, TOKENS), device=base.device)
    mask = torch.ones_like(input_ids)
    times: list[float] = []
    with torch.inference_mode():
        for _ in range(4):
            started = time.perf_counter()
            base.model(input_ids=input_ids, attention_mask=mask)
            times.append(time.perf_counter() - started)
    return ROWS * TOKENS / sorted(times[1:])[1]


def estimate_seconds(recipe: Recipe, base: Base, job: Job, forward_rate: float) -> float | None:
    """Estimate the time of a step.

    Args:
        recipe: What is run.
        base: The base.
        job: The step.
        forward_rate: Tokens a second of a forward pass through all layers.
    """
    train = recipe.train
    num_layers = base.sites.num_layers
    head_layer = num_layers if base.head is not None else min(train.shared.layer, num_layers)
    part_of_layers = head_layer / num_layers
    training_rate = forward_rate / TRAINING_FACTOR
    if job.kind == "shared":
        return train.shared.steps * train.shared.batch_tokens * part_of_layers / training_rate
    if job.kind == "language":
        return train.language.steps * train.language.batch_tokens * part_of_layers / training_rate
    task = recipe.tasks[job.task or ""]
    if task.objective == "sequence":
        return None
    if job.kind == "evaluate":
        words = sum(_count_words(recipe, job, str(path)) for path in task.test.values())
        return 4 * words * PIECES_PER_WORD / forward_rate
    if train.task.steps is not None:
        return train.task.steps * train.task.batch_tokens / training_rate
    words = _count_words(recipe, job, str(task.train))
    return words * PIECES_PER_WORD * (train.task.epochs or DEFAULT_EPOCHS) / training_rate


def _count_words(recipe: Recipe, job: Job, path: str) -> int:
    task = recipe.tasks[job.task or ""]
    sentences = read_conll(path, token_column=task.token_column, tag_column=task.tag_column)
    return sum(len(sentence.tokens) for sentence in sentences)
