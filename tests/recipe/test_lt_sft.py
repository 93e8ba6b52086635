"""Lottery-ticket sparse fine-tuning, against a dense training by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.recipe.by_method import SETTINGS, carry_out, count, load_graft, make_order, read_mask
from tests.tiny import make_base

from polygraft.attach.sparse import find_edit, read_values
from polygraft.parts.delta import Delta, DeltaLayers
from polygraft.recipe import lt_sft
from polygraft.recipe.bench import Bench
from polygraft.recipe.methods import LtSft

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


def test_places_by_chance_are_others_and_as_many():
    phases, _, _ = carry_out(LtSft(density=0.125, choice="random"))
    carry_out(LtSft(density=0.125), store="chosen")
    by_chance, chosen = read_mask("new"), read_mask("new", store="chosen")
    assert len(phases) == 1
    assert count(by_chance) == count(chosen) == 672
    common = sum(int((by_chance[name] & chosen[name]).sum()) for name in chosen)
    assert common < 0.5 * 672
