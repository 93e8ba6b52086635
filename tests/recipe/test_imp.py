"""Iterative magnitude pruning, against sorting by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.recipe.by_method import SETTINGS, carry_out, count, load_graft, make_order, read_mask
from tests.tiny import make_base
from torch import Tensor

from polygraft.attach.sparse import find_edit, read_values
from polygraft.parts.mask import MaskLayers
from polygraft.recipe.methods import Imp

pytestmark = pytest.mark.usefixtures("here")

NUM_WEIGHTS = 5376
LEVELS = (0.0, 0.5, 0.75)


def read(name: str) -> Tensor:
    """The values of a stored level, all weights one after the other."""
    values = read_values(find_edit(load_graft(name), MaskLayers))
    return torch.cat([each.flatten() for each in values.values()])


def flatten(masks: dict[str, Tensor]) -> Tensor:
    return torch.cat([mask.flatten() for mask in masks.values()])


def test_every_level_is_stored_with_exactly_so_many_survivors():
    _, steps, made = carry_out(Imp(sparsities=LEVELS))
    assert [manifest.name for manifest in made] == ["new-s0", "new-s50", "new"]
    assert [count(read_mask(manifest.name)) for manifest in made] == [NUM_WEIGHTS, 2688, 1344]
    assert [manifest.hyperparameters["sparsity"] for manifest in made] == [0.0, 0.5, 0.75]
    assert len(steps) == 3 * 4


def test_a_cut_keeps_the_largest_of_what_the_level_before_left():
    carry_out(Imp(sparsities=LEVELS))
    dense, half, last = (flatten(read_mask(name)) for name in ("new-s0", "new-s50", "new"))
    assert bool(dense.all())
    largest = read("new-s0").abs().argsort(descending=True, stable=True)[:2688]
    assert torch.equal(half.nonzero().flatten(), largest.sort().values)
    # What is pruned is zero, so that it is never among the largest again.
    largest = read("new-s50").abs().argsort(descending=True, stable=True)[:1344]
    assert torch.equal(last.nonzero().flatten(), largest.sort().values)


def test_without_retraining_levels_are_cuts_of_the_dense_training():
    _, steps, _ = carry_out(Imp(sparsities=LEVELS, retrain="never"))
    assert len(steps) == 4
    dense = read("new-s0")
    for name in ("new-s50", "new"):
        assert torch.equal(read(name), dense * flatten(read_mask(name)))


def test_one_shot_levels_are_each_cut_from_the_dense_training_and_trained_on():
    carry_out(Imp(sparsities=LEVELS, retrain="after"))
    largest = read("new-s0").abs().argsort(descending=True, stable=True)[:1344]
    assert torch.equal(flatten(read_mask("new")).nonzero().flatten(), largest.sort().values)
    assert not torch.equal(read("new"), read("new-s0") * flatten(read_mask("new")))


@pytest.mark.parametrize("rewind", ["start", "2"])
def test_survivors_go_on_from_where_they_are_rewound_to(rewind: str):
    # With a learning rate that is next to nothing, retraining leaves what it begins with.
    order = make_order(settings=dataclasses.replace(SETTINGS, lr=1e-2))
    carry_out(Imp(sparsities=(0.0, 0.5), rewind=rewind), order)
    still = make_order(settings=dataclasses.replace(SETTINGS, lr=1e-12), name="still")
    carry_out(Imp(sparsities=(0.0, 0.5), rewind=rewind), still)
    weights = dict(make_base("bert").model.named_parameters())
    start = torch.cat([weights[name].detach().flatten() for name in read_mask("still")])
    kept = flatten(read_mask("still"))
    assert torch.allclose(read("still")[kept], start[kept], atol=1e-6)
    moved = (read("new") - start)[flatten(read_mask("new"))].abs().mean()
    whole = (read("new-s0") - start).abs().mean()
    # Four steps from the base's values, or from those after two.
    assert moved < 1.5 * whole if rewind == "start" else moved > 0.5 * whole


def test_levels_are_told_with_their_scores_before_and_after_retraining():
    _, _, made = carry_out(Imp(sparsities=LEVELS))
    levels = made[-1].hyperparameters["levels"]
    assert isinstance(levels, list)
    assert [sorted(level) for level in levels if isinstance(level, dict)] == [
        ["score", "sparsity"],
        ["score", "sparsity", "when_cut"],
        ["score", "sparsity", "when_cut"],
    ]
    assert [manifest.scores["dev"] for manifest in made] == [
        level["score"] for level in levels if isinstance(level, dict)
    ]


def test_rows_and_groups_keep_equally_many():
    carry_out(Imp(sparsities=(0.5,), scope="2:4"))
    for mask in read_mask("new").values():
        assert bool((mask.view(-1, 4).sum(1) == 2).all())
    carry_out(Imp(sparsities=(0.75,), scope="row"), store="rows")
    for mask in read_mask("new", store="rows").values():
        assert bool((mask.sum(1) == mask.shape[1] // 4).all())
