"""Scores by every criterion, against plain code on a copy of the base."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from tests.recipe.by_method import SETTINGS, carry_out, count, make_bench, read_mask
from torch import Tensor

from polygraft.attach.attach import attach
from polygraft.attach.sparse import find_edit, read_values
from polygraft.data.collate import collate, pad_places
from polygraft.data.encode import IGNORE
from polygraft.errors import OptionError
from polygraft.parts.mask import MaskLayers
from polygraft.prune import scores
from polygraft.recipe import methods
from polygraft.recipe.bench import Bench, make_dense
from polygraft.recipe.criteria import make_score
from polygraft.recipe.methods import Imp
from polygraft.train.labels import Labelling

NAME = "encoder.layer.1.output.dense.weight"

pytestmark = pytest.mark.usefixtures("here")


def list_batches(bench: Bench) -> list[Tensor]:
    return bench.objective.plan_epoch(batch_tokens=SETTINGS.batch_tokens, seed=0, epoch=0)[:3]  # type: ignore[return-value]


def list_gradients(bench: Bench, head: Tensor) -> Iterator[Tensor]:
    """The slow way: a second base whose own weight is differentiated."""
    slow = copy.deepcopy(bench.base)
    weight = slow.model.get_parameter(NAME)
    weight.requires_grad_(True)
    from polygraft.attach.graft import make_graft

    assert bench.head is not None
    graft = make_graft(slow, "head", [bench.head])
    graft.layers.load_state_dict({f"head.{key}": value for key, value in head.items()})  # type: ignore[attr-defined]
    with attach(slow, "head", grafts=[graft]) as attachment:
        for step, rows in enumerate(list_batches(bench)):
            weight.grad = None
            bench.objective.compute_loss(attachment, rows, seed=0, step=step).mean.backward()  # type: ignore[arg-type]
            assert weight.grad is not None
            yield weight.grad.clone()


@pytest.mark.parametrize("criterion", ["movement", "fisher"])
def test_gradients_are_those_of_the_weights(criterion: str):
    bench = make_bench()
    graft = make_dense(bench, Imp())
    values = read_values(find_edit(graft, MaskLayers))
    score = make_score(bench, graft, criterion=criterion, num_batches=3, start=values)(NAME)
    head = {
        key.removeprefix("head."): tensor
        for key, tensor in graft.tensors().items()
        if key.startswith("head.")
    }
    weight, expected = values[NAME], torch.zeros_like(values[NAME])
    for grad in list_gradients(bench, head):  # type: ignore[arg-type]
        expected += -grad * weight if criterion == "movement" else grad.square()
    assert expected.abs().max() > 0
    assert torch.allclose(score, expected, rtol=1e-4, atol=1e-6)


def test_wanda_weighs_by_the_length_of_the_inputs_without_padding():
    bench = make_bench()
    graft = make_dense(bench, Imp())
    values = read_values(find_edit(graft, MaskLayers))
    score = make_score(bench, graft, criterion="wanda", num_batches=3, start=values)(NAME)
    seen: list[Tensor] = []
    masks: list[Tensor] = []
    layer = bench.base.model.get_submodule(NAME.removesuffix(".weight"))
    handles = [
        layer.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0])),
        bench.base.model.register_forward_pre_hook(
            lambda _, arguments, named: masks.append(named["attention_mask"].bool()), with_kwargs=True
        ),
    ]
    with torch.no_grad(), attach(bench.base, "new", grafts=[graft]) as attachment:
        for step, rows in enumerate(list_batches(bench)):
            bench.objective.compute_loss(attachment, rows, seed=0, step=step)  # type: ignore[arg-type]
    for handle in handles:
        handle.remove()
    inputs = torch.cat([x[mask] for x, mask in zip(seen, masks, strict=True)])
    assert torch.allclose(score, values[NAME].abs() * inputs.norm(dim=0), rtol=1e-4, atol=1e-6)


def test_wanda_sees_each_token_of_the_last_layer_once():
    bench = make_bench()
    graft = make_dense(bench, Imp())
    values = read_values(find_edit(graft, MaskLayers))
    # Behind the last layer's attention only words' places are computed, filled up to a round number.
    name = "encoder.layer.2.output.dense.weight"
    score = make_score(bench, graft, criterion="wanda", num_batches=3, start=values)(name)
    seen: list[Tensor] = []
    layer, objective = bench.base.model.get_submodule(name.removesuffix(".weight")), bench.objective
    assert isinstance(objective, Labelling)
    with torch.no_grad(), attach(bench.base, "new", grafts=[graft]) as attachment:
        for rows in list_batches(bench):
            batch = collate(objective.data, rows, pad_id=bench.base.pad_id)  # type: ignore[arg-type]
            assert batch.labels is not None
            with layer.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0])):
                attachment.run(batch.input_ids, batch.attention_mask)
            seen[-1] = seen[-1][batch.labels != IGNORE]
    assert any(len(pad_places(torch.arange(len(x)))) > len(x) for x in seen)
    assert torch.allclose(score, values[name].abs() * torch.cat(seen).norm(dim=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("criterion", methods.CRITERIA)
def test_every_criterion_prunes(criterion: str):
    carry_out(Imp(sparsities=(0.5, 0.75), criterion=criterion, num_batches=2, scope="row"))
    assert count(read_mask("new")) == 5376 // 4


def test_the_criteria_are_those_of_the_table():
    assert set(methods.CRITERIA) == set(scores.CRITERIA)


@pytest.mark.parametrize(
    ("role", "named"),
    [
        ("bias", "'encoder.layer.0.attention.self.query.bias' is of none (18 such)"),
        # A matrix, but not of a linear layer.
        ("embedding", "'embeddings.word_embeddings.weight' is of none (3 such)"),
    ],
)
def test_what_is_no_matrix_of_a_linear_layer_has_no_inputs(role: str, named: str):
    with pytest.raises(OptionError) as refused:
        carry_out(Imp(weights=("linear", role), criterion="wanda"))
    assert str(refused.value) == (
        f"The criterion 'wanda' scores a weight by what enters its linear layer, and {named}. Expected the weights "
        "linear alone. Leave the others out, or take magnitude."
    )


def test_a_criterion_that_is_not_known_is_refused():
    with pytest.raises(OptionError) as refused:
        Imp(criterion="magnitud")
    assert str(refused.value) == (
        "Weights were to be kept by the criterion 'magnitud'. Expected one of magnitude, change, movement, fisher, "
        "wanda, random. Did you mean 'magnitude'? Correct the name."
    )
