"""Iterative magnitude pruning, against sorting by hand."""

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
    make_order,
    read_base,
    read_checkpoint,
    read_mask,
    stop_after,
)
from tests.tiny import make_base
from torch import Tensor

from polygraft.attach.sparse import find_edit, read_values
from polygraft.errors import OptionError, StoreError
from polygraft.parts.mask import MaskLayers
from polygraft.recipe.imp import name_level
from polygraft.recipe.methods import Imp
from polygraft.recipe.single_sparse import SparseOrder, train_sparse
from polygraft.store.fields import shown
from polygraft.store.store import Store
from polygraft.train.loop import Interrupted

pytestmark = pytest.mark.usefixtures("here")

NUM_WEIGHTS = 5376
LEVELS = (0.0, 0.5, 0.75)


def read(name: str) -> Tensor:
    """The values of a stored level, all weights one after the other."""
    values = read_values(find_edit(load_graft(name), MaskLayers))
    return torch.cat([each.flatten() for each in values.values()])


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


def test_levels_lie_inside_each_other():
    carry_out(Imp(sparsities=(0.5, 0.8, 0.9)))
    outer, middle, inner = (flatten(read_mask(name)) for name in ("new-s50", "new-s80", "new"))
    assert (int(middle.sum()), int(inner.sum())) == (1075, 538)
    assert not bool((middle & ~outer).any())
    assert not bool((inner & ~middle).any())


@pytest.mark.parametrize("rewind", ["none", "start", "2"])
def test_a_level_begins_exactly_where_it_is_rewound_to(rewind: str):
    """Without a warmup the first step moves no value by more than the learning rate, and most by nearly it."""
    order = make_order(dev=None, settings=change_settings(checkpoint_every=1, warmup=0.0))
    wanted = SparseOrder(order=order, method=Imp(sparsities=(0.5,), rewind=rewind))
    making = train_sparse(make_base("bert"), wanted, store=Store(Path("store")))
    items = [next(making) for _ in range(4)]
    early = read_checkpoint("dense", 2)["mask.values"]
    items += [next(making) for _ in range(2)]
    dense = read_checkpoint("dense", 4)["mask.values"]
    items += [next(making) for _ in range(2)]
    making.close()
    kept = keep_slowly(dense, NUM_WEIGHTS // 2)
    base = read_base({name: torch.zeros(()) for name in dict(list_linear())})
    starts = {"none": dense, "start": base, "2": early}
    first = read_checkpoint("level-0.5", 1)["mask.values"]
    distances = {name: float((first - start[kept]).abs().max()) for name, start in starts.items()}
    assert distances[rewind] == pytest.approx(SETTINGS.lr, rel=0.01)
    assert all(distance > 1.05 * SETTINGS.lr for name, distance in distances.items() if name != rewind)


def list_linear() -> list[tuple[str, Tensor]]:
    weights = make_base("bert").model.named_parameters()
    return [(name, weight) for name, weight in weights if weight.dim() == 2 and "embeddings" not in name]


def test_with_other_later_levels_the_earlier_ones_stay():
    carry_out(Imp(sparsities=(0.5, 0.8)))
    _, _, made = carry_out(Imp(sparsities=(0.5, 0.9)))
    assert [(manifest.name, manifest.version) for manifest in made] == [("new-s50", 1), ("new", 2)]
    assert Store(Path("store")).versions("new-s50") == [1]


def test_an_order_that_was_stopped_goes_on_with_other_later_levels():
    _, _, whole = carry_out(Imp(sparsities=(0.5, 0.9)), store="whole")
    with pytest.raises(Interrupted):
        carry_out(Imp(sparsities=(0.5, 0.8)), should_stop=stop_after(10))
    _, steps, made = carry_out(Imp(sparsities=(0.5, 0.9)))
    assert [step.number for step in steps] == [1, 2, 3, 4]
    assert [manifest.sha256 for manifest in made] == [manifest.sha256 for manifest in whole]


def test_a_name_that_has_no_room_for_its_levels_is_refused_before_training():
    name = "n" * 62
    with pytest.raises(StoreError) as caught:
        carry_out(Imp(sparsities=(0.5, 0.8)), make_order(name=name))
    assert str(caught.value) == (
        f"{shown(f'{name}-s50')} cannot be a graft's name. A name has 1 to 64 of the characters A-Z a-z 0-9 _ . -, "
        "begins with a letter or digit, and has no two dots in a row. Choose another name."
    )
    assert not Path("store/.checkpoints").exists()
    _, _, [only] = carry_out(Imp(sparsities=(0.5,)), make_order(name=name))
    assert only.name == name


@pytest.mark.parametrize(
    ("sparsity", "name"),
    [(0.5, "ner-s50"), (0.0, "ner-s0"), (0.875, "ner-s87.5"), (1 - 0.1**0.2, "ner-s36.9043")],
)
def test_a_level_is_named_after_its_share(sparsity: float, name: str):
    assert name_level("ner", sparsity) == name


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"retrain": "betwen"},
            "Pruning was to retrain 'betwen'. Expected between, after, never. Did you mean 'between'? Correct the "
            "word.",
        ),
        (
            {"scope": "2:4"},
            "The scope 2:4 prunes one share, and 3 levels were asked for. Expected one level. Leave the others out.",
        ),
        (
            {"rewind": "²"},
            "Pruning was to rewind to '²'. Expected none, start, or a number of steps. Correct it.",
        ),
        (
            {"sparsities": ()},
            "The sparsities are none. Expected shares of the weights from 0 up to (but not) 1, each larger than the "
            "one before, such as 0.5, 0.8, 0.9. Correct them.",
        ),
        (
            {"sparsities": (0.5, float("nan"))},
            "The sparsities are 0.5, nan. Expected shares of the weights from 0 up to (but not) 1, each larger than "
            "the one before, such as 0.5, 0.8, 0.9. Correct them.",
        ),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(options: dict[str, Any], sentence: str):
    with pytest.raises(OptionError) as caught:
        Imp(**options)
    assert str(caught.value) == sentence
