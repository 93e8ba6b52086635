"""Lottery-ticket sparse fine-tuning, against a dense training by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.recipe.by_method import (
    SETTINGS,
    carry_out,
    change_settings,
    count,
    flatten,
    keep_slowly,
    load_graft,
    make_bench,
    make_order,
    read_checkpoint,
    read_mask,
    stop_after,
)
from tests.tiny import make_base, make_batch

from polygraft.attach.attach import attach
from polygraft.attach.graft import make_graft
from polygraft.attach.sparse import find_edit, read_values
from polygraft.errors import OptionError
from polygraft.parts.delta import Delta, DeltaLayers
from polygraft.recipe import lt_sft
from polygraft.recipe.bench import Bench
from polygraft.recipe.methods import LtSft
from polygraft.train.loop import Interrupted

pytestmark = pytest.mark.usefixtures("here")


def test_the_places_are_those_that_changed_most_and_start_from_the_base(monkeypatch: pytest.MonkeyPatch):
    dense: list[torch.Tensor] = []
    choose = lt_sft.select

    def spy(shapes, score, **options):
        dense.extend(score(name).flatten() for name in shapes)
        return choose(shapes, score, **options)

    monkeypatch.setattr(lt_sft, "select", spy)
    carry_out(LtSft(density=0.125))
    changes = torch.cat(dense)
    kept = torch.cat([mask.flatten() for mask in read_mask("new").values()])
    largest = changes.abs().argsort(descending=True, stable=True)[: 5376 // 8]
    assert torch.equal(kept.nonzero().flatten(), largest.sort().values)
    values = read_values(find_edit(load_graft("new"), DeltaLayers))
    # Adam moves no value further than the learning rates add up to.
    assert 0 < max(float(each.abs().max()) for each in values.values()) <= 4 * SETTINGS.lr * 1.01


def test_the_dense_phase_is_the_training_of_a_full_delta():
    """With density 1 both phases are one training twice, so that the second ends where the first did."""
    order = make_order(dev=None)
    carry_out(LtSft(density=1.0), order)
    found = load_graft("new").tensors()["delta.values"]
    base = make_base("bert")
    from polygraft.recipe.order import hash_order
    from polygraft.recipe.single_data import prepare
    from polygraft.store.store import Store

    plain = dataclasses.replace(order, reduction=0)
    store = Store("other")
    work = prepare(base, plain, {}, folder=store.folder, notify=lambda sentence: None)
    from polygraft.attach.plan import Named

    bench = Bench(
        base=base,
        name="new",
        below={},
        plans=[Named("new")],
        objective=work.objective,
        settings=order.settings,
        evaluate=None,
        head=work.head,
        skip_layers=(),
        folder=store.folder / "checkpoints",
        key=hash_order(base, plain, {}),
        should_stop=lambda: False,
        notify=lambda sentence: None,
    )
    graft = bench.make_graft(Delta())
    list(bench.train(graft, phase="by hand", chooses=False))
    assert torch.equal(find_edit(graft, DeltaLayers).values.detach(), found)


def test_a_pull_towards_the_base_makes_the_differences_smaller():
    sums: list[float] = []
    for l1 in (0.0, 200.0):
        carry_out(LtSft(density=0.5, l1=l1), store=f"l1-{l1:g}")
        sums.append(float(load_graft("new", store=f"l1-{l1:g}").tensors()["delta.values"].abs().sum()))
    assert sums[1] < 0.9 * sums[0]


def test_the_places_that_the_loss_is_most_sensitive_to_need_no_dense_phase(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lt_sft, "NUM_BATCHES", 3)
    phases, _, _ = carry_out(LtSft(density=0.125, choice="fisher"))
    assert [phase.title for phase in phases] == [
        "Training the 672 weights that the loss is most sensitive to, from the start ..."
    ]
    # The slow way: the base's own weights are differentiated, under the head that training begins with.
    bench = make_bench()
    names = list(read_mask("new"))
    weights = [bench.base.model.get_parameter(name).requires_grad_(True) for name in names]
    assert bench.head is not None
    head = make_graft(bench.base, "new", [bench.head])
    fresh = bench.make_graft(Delta()).layers.state_dict()
    head.layers.load_state_dict({key: fresh[key] for key in head.layers.state_dict()})
    sums = [torch.zeros_like(weight) for weight in weights]
    batches = bench.objective.plan_epoch(batch_tokens=SETTINGS.batch_tokens, seed=0, epoch=0)[:3]
    with attach(bench.base, "new", grafts=[head]) as attachment:
        for step, rows in enumerate(batches):
            loss = bench.objective.compute_loss(attachment, rows, seed=0, step=step).mean
            for total, grad in zip(sums, torch.autograd.grad(loss, weights), strict=True):
                total.add_(grad.square())
    largest = torch.cat([total.flatten() for total in sums]).argsort(descending=True, stable=True)[:672]
    kept = torch.cat([mask.flatten() for mask in read_mask("new").values()])
    assert torch.equal(kept.nonzero().flatten(), largest.sort().values)


def test_a_choice_that_is_not_known_is_refused():
    with pytest.raises(OptionError) as refused:
        LtSft(choice="fischer")  # type: ignore[arg-type]
    assert str(refused.value) == (
        "Sparse fine-tuning was to keep places by 'fischer'. Expected change, fisher, random. Did you mean 'fisher'? "
        "Correct the word."
    )


def test_places_by_chance_are_others_and_as_many():
    phases, _, _ = carry_out(LtSft(density=0.125, choice="random"))
    carry_out(LtSft(density=0.125), store="chosen")
    by_chance, chosen = read_mask("new"), read_mask("new", store="chosen")
    assert len(phases) == 1
    assert count(by_chance) == count(chosen) == 672
    common = sum(int((by_chance[name] & chosen[name]).sum()) for name in chosen)
    assert common < 0.5 * 672


@pytest.mark.parametrize("objective", ["tokens", "mlm"])
def test_the_places_are_those_that_a_dense_training_moved_most(objective: str):
    """The first phase is stopped after its last step, where its checkpoint has all changes."""
    order = make_order(objective=objective)
    with pytest.raises(Interrupted):
        carry_out(LtSft(density=0.1), order, should_stop=stop_after(4))
    changes = read_checkpoint("dense", 4)["delta.values"]
    carry_out(LtSft(density=0.1), order)
    assert flatten(read_mask("new")).nonzero().flatten().tolist() == keep_slowly(changes, 538)


def test_the_second_phase_begins_with_the_base_s_values():
    order = make_order(settings=change_settings(checkpoint_every=1, warmup=0.0))
    with pytest.raises(Interrupted):
        carry_out(LtSft(density=0.1), order, should_stop=stop_after(5))
    moved = read_checkpoint("sparse", 1)["delta.values"].abs().max()
    assert float(moved) == pytest.approx(SETTINGS.lr, rel=0.01)


@pytest.mark.parametrize(
    ("density", "scope", "num_places"),
    [
        (0.01, "global", 54),
        (0.7, "global", 3763),
        (1.0, "global", 5376),
        (0.25, "1:4", 1344),
        (0.5, "row", 2688),
    ],
)
def test_as_many_places_change_as_the_density_says(density: float, scope: str, num_places: int):
    _, _, [manifest] = carry_out(LtSft(density=density, scope=scope))
    assert manifest.parts[0].options["num_values"] == count(read_mask("new")) == num_places


def test_phases_tell_what_is_trained():
    phases, _, _ = carry_out(LtSft(density=0.1))
    assert [phase.title for phase in phases] == [
        "Training all 5,376 weights, to see which change most ...",
        "Training the 538 weights that changed most, from the start ...",
    ]
    phases, _, _ = carry_out(LtSft(density=0.1, choice="random"))
    assert [phase.title for phase in phases] == [
        "Training the 538 weights that chance took, from the start ..."
    ]


def test_a_language_and_a_task_add_up_as_in_the_paper():
    """W' = W + d(language) + d(task), and the base is itself again afterwards."""
    carry_out(LtSft(density=0.1), make_order(name="qu", objective="mlm"))
    carry_out(LtSft(density=0.1), make_order(under="qu"))
    base = make_base("bert")
    grafts = [load_graft(name, base=base) for name in ("qu", "new")]
    own = [read_values(find_edit(graft, DeltaLayers)) for graft in grafts]
    before = {name: weight.clone() for name, weight in base.model.named_parameters()}
    with torch.no_grad(), attach(base, "stack(qu, new)", grafts=grafts) as attachment:
        attachment.run(*make_batch())
        for name, weight in base.model.named_parameters():
            expected = before[name] + own[0][name] + own[1][name] if name in own[0] else before[name]
            assert torch.equal(weight, expected)
    assert base.compute_fingerprint() == base.fingerprint


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"l1": -1.0}, "Sparse fine-tuning has l1=-1. Expected 0 or more. Correct the number."),
        (
            {"density": 1.5},
            "Sparse fine-tuning has density=1.5. Expected a share above 0 and at most 1 of the weights, such as 0.05. "
            "Correct the number.",
        ),
        (
            {"scope": "rows"},
            "The scope 'rows' is not known. global, tensor, row or N:M was expected. Did you mean 'row'? Write one of "
            "them, for example 2:4 to keep two of every four weights.",
        ),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(options: dict[str, Any], sentence: str):
    with pytest.raises(OptionError) as caught:
        LtSft(**options)
    assert str(caught.value) == sentence


def test_too_few_places_are_refused_before_training():
    with pytest.raises(OptionError) as caught:
        carry_out(LtSft(density=1e-5))
    assert str(caught.value) == (
        "A sparsity of 0.99999 in the scope 'global' leaves none of 5,376 weights. At least one was expected. Give a "
        "smaller sparsity."
    )
    assert not Path("store/.checkpoints").exists()
