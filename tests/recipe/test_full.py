"""Full copies, against plain PyTorch that trains every weight of the base and a linear layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest
import torch
from tests.recipe.by_method import make_bench
from tests.tiny import make_base
from torch import Tensor

from polygraft.attach.graft import Graft
from polygraft.attach.sparse import find_edit, read_values
from polygraft.data.collate import collate
from polygraft.data.encode import IGNORE
from polygraft.parts.delta import Delta, DeltaLayers
from polygraft.recipe.bench import Bench, Phase
from polygraft.recipe.full import run_full
from polygraft.recipe.methods import Full, Sequential
from polygraft.recipe.outcome import Outcome
from polygraft.train.labels import Labelling
from polygraft.train.settings import compute_lr
from polygraft.train.updates import plan_updates

pytestmark = pytest.mark.usefixtures("here")
TOLERANCE = 1e-6
"""Of values that four updates of 0.01 have moved by up to 0.04."""
WITHOUT_GRADIENT = "attention.self.key.bias"
"""A softmax over keys does not feel what is added to all of them: Adam makes steps of the rounding errors."""


def train(bench: Bench, method: Full) -> tuple[list[Phase], Graft]:
    items = list(run_full(bench, method))
    [outcome] = [item for item in items if isinstance(item, Outcome)]
    return [item for item in items if isinstance(item, Phase)], outcome.graft


def read_changes(graft: Graft) -> dict[str, Tensor]:
    return read_values(find_edit(graft, DeltaLayers))


def train_plainly(
    bench: Bench, changes: Mapping[str, Tensor], head: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The weights of the base and the head after the same batches, as anyone would write it.

    Args:
        bench: The data and the settings.
        changes: What is added to the base's weights first.
        head: What the head begins with.
    """
    model = make_base("bert").model.requires_grad_(True)
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, change in changes.items():
            weights[name].add_(change)
    out = {name: value.clone().requires_grad_(True) for name, value in head.items()}
    settings, data = bench.settings, cast("Labelling", bench.objective).data
    updates = plan_updates(bench.objective, settings, num_processes=1)
    groups = [{"params": [*weights.values()]}, {"params": [*out.values()]}]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.0)
    for number, [rows] in enumerate(updates):
        for group, factor in zip(optimiser.param_groups, (1.0, settings.head_lr_factor), strict=True):
            group["lr"] = factor * compute_lr(settings, step=number, total=len(updates))
        batch = collate(data, rows, pad_id=bench.base.pad_id)
        hidden = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
        scores = torch.nn.functional.linear(hidden, out["head.out.weight"], out["head.out.bias"])
        assert batch.labels is not None
        labels = batch.labels.flatten()
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), labels, ignore_index=IGNORE)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*weights.values(), *out.values()], settings.clip)
        optimiser.step()
    return {name: value.detach() for name, value in {**weights, **out}.items()}


def read_head(graft: Graft) -> dict[str, Tensor]:
    return {name: value for name, value in graft.tensors().items() if name.startswith("head.")}


def find_largest_difference(bench: Bench, graft: Graft, expected: Mapping[str, Tensor]) -> float:
    weights = dict(bench.base.model.named_parameters())
    found = {name: weights[name] + change for name, change in read_changes(graft).items()}
    found |= read_head(graft)
    assert sorted(found) == sorted(expected)
    compared = [name for name in expected if not name.endswith(WITHOUT_GRADIENT)]
    assert len(expected) - len(compared) == 3
    return max(float((found[name] - expected[name]).abs().max()) for name in compared)


def test_a_copy_is_what_plain_training_of_every_weight_gives():
    bench = make_bench()
    fresh = read_head(bench.make_graft(Delta()))
    [phase], graft = train(bench, Full())
    expected = train_plainly(bench, {}, fresh)
    assert find_largest_difference(bench, graft, expected) < TOLERANCE
    # And it did learn.
    assert max(float(change.abs().max()) for change in read_changes(graft).values()) > 0.01
    num_weights = sum(weight.numel() for weight in bench.base.model.parameters())
    assert sum(change.numel() for change in read_changes(graft).values()) == num_weights
    assert phase == Phase(
        title=f"Training all {num_weights:,} weights, from the base's ...", name="new, all weights"
    )


def test_a_sequence_goes_on_from_the_weights_of_the_task_before():
    bench = make_bench()
    [_], first = train(bench, Sequential())
    first.name = "ner"
    bench = dataclasses.replace(make_bench(), start=first, folder=Path("others"))
    fresh = read_head(bench.make_graft(Delta()))
    [phase], graft = train(bench, Sequential())
    expected = train_plainly(bench, read_changes(first), fresh)
    assert find_largest_difference(bench, graft, expected) < TOLERANCE
    assert phase.title.endswith("weights, from those of 'ner' ...")


def test_the_base_stays_what_it_is():
    bench = make_bench()
    before = bench.base.compute_fingerprint()
    train(bench, Full())
    assert bench.base.compute_fingerprint() == before
