"""Tasks packed one after the other into one set of weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tests.recipe.by_method import SETTINGS, carry_out, count, load_graft, make_order, read_mask
from tests.tiny import make_base, make_batch
from torch import Tensor

from polygraft.attach.attach import attach
from polygraft.attach.sparse import find_edit
from polygraft.errors import OptionError
from polygraft.parts.mask import MaskLayers
from polygraft.recipe.methods import Imp, LtSft, PackNet, Piggyback

pytestmark = pytest.mark.usefixtures("here")
METHOD = PackNet(sparsity=0.5, scope="tensor")


def pack(*names: str) -> None:
    for number, name in enumerate(names):
        under = f"stack({', '.join(names[:number])})" if number else None
        settings = dataclasses.replace(SETTINGS, seed=number)
        carry_out(METHOD, make_order(name=name, under=under, settings=settings))


def score(plan: str, *names: str) -> Tensor:
    base = make_base("bert")
    grafts = [load_graft(name, base=base) for name in names]
    with torch.no_grad(), attach(base, plan, grafts=grafts) as attachment:
        return attachment.run(*make_batch())


def test_what_is_packed_later_changes_nothing_of_the_tasks_before():
    pack("one")
    before = score("one", "one")
    pack("one", "two", "three")
    assert torch.equal(score("one", "one"), before)
    two = score("stack(one, two)", "one", "two")
    assert not torch.equal(two, before)
    assert not torch.equal(score("stack(one, two, three)", "one", "two", "three"), two)


def test_tasks_own_different_weights_and_share_those_below():
    pack("one", "two", "three")
    layers = [find_edit(load_graft(name), MaskLayers) for name in ("one", "two", "three")]
    total, taken = 0, 0
    for name in layers[0].names:
        size = layers[0].infos[layers[0].index_of[name]].size
        owned = torch.zeros(size, dtype=torch.int64)
        for each in layers:
            owned[each.find_valued(name)] += 1
            kept = each.find_kept(name)
            assert kept is not None and torch.equal(kept, owned.nonzero().flatten())
        assert int(owned.max()) == 1
        total, taken = total + size, taken + int(owned.sum())
    # Half of all, half of the rest, and half of that.
    assert (total, taken) == (5376, 4704)


def test_the_capacity_that_is_left_is_told():
    pack("one", "two")
    _, _, made = carry_out(METHOD, make_order(name="three", under="stack(one, two)"))
    assert made[-1].hyperparameters["capacity_left"] == pytest.approx(0.125)
    assert made[-1].hyperparameters["weights_taken"] == 672


def test_a_task_below_that_is_packed_into_other_weights_is_refused():
    carry_out(PackNet(weights=("*.query.weight",)), make_order(name="one"))
    with pytest.raises(OptionError) as refused:
        carry_out(METHOD, make_order(name="two", under="one"))
    assert str(refused.value) == (
        "The graft 'one' below 'two' is a mask over 3 weights, and 'two' is to be packed into 18. Expected tasks that "
        "were packed into the same ones. Name the same weights."
    )


def test_nothing_is_left_after_a_task_that_gave_nothing_back():
    carry_out(PackNet(sparsity=0.0), make_order(name="one"))
    with pytest.raises(OptionError) as refused:
        carry_out(METHOD, make_order(name="two", under="one"))
    assert str(refused.value) == (
        "No weight is left for 'two': the grafts one have taken all of them. Expected free ones. Pack the tasks below "
        "with a higher sparsity."
    )


def test_a_language_delta_below_takes_nothing():
    carry_out(LtSft(density=0.1), make_order(objective="mlm", name="en"))
    _, _, made = carry_out(METHOD, make_order(name="one", under="en"))
    assert count({"": torch.tensor(made[-1].hyperparameters["weights_taken"] == 2688)}) == 1


@pytest.mark.parametrize("scope", ["tensor", "row", "global"])
def test_each_task_takes_half_of_what_is_free(scope: str):
    method = PackNet(sparsity=0.5, scope=scope)
    under = (None, "one", "stack(one, two)")
    for name, below in zip(("one", "two", "three"), under, strict=True):
        carry_out(method, make_order(name=name, under=below))
    found = [load_graft(name).parts[0].to_options() for name in ("one", "two", "three")]
    assert [(options["num_values"], options["num_kept"]) for options in found] == [
        (2688, 2688),
        (1344, 4032),
        (672, 4704),
    ]


def test_a_later_task_may_choose_in_another_scope():
    """What is free differs from tensor to tensor then, and each gives half of its own."""
    carry_out(PackNet(sparsity=0.3, scope="global"), make_order(name="one"))
    carry_out(PackNet(sparsity=0.5, scope="tensor"), make_order(name="two", under="one"))
    before, after = read_mask("one"), read_mask("two")
    free = [int((~mask).sum()) for mask in before.values()]
    assert len(set(free)) > 2
    own = [int((after[name] & ~before[name]).sum()) for name in before]
    assert own == [(number + 1) // 2 for number in free]


def test_the_last_task_may_take_all_that_is_left():
    carry_out(PackNet(sparsity=0.3, scope="row"), make_order(name="one"))
    _, _, [manifest] = carry_out(PackNet(sparsity=0.0), make_order(name="two", under="one"))
    assert manifest.hyperparameters["capacity_left"] == 0


def test_a_pruned_task_may_be_the_first_one():
    carry_out(Imp(sparsities=(0.5,)), make_order(name="one"))
    _, _, [manifest] = carry_out(METHOD, make_order(name="two", under="one"))
    assert manifest.hyperparameters["capacity_left"] == pytest.approx(0.25, abs=0.001)


def test_a_task_over_a_mask_without_values_is_refused():
    carry_out(Piggyback(), make_order(name="one"))
    with pytest.raises(OptionError) as refused:
        carry_out(METHOD, make_order(name="two", under="one"))
    assert str(refused.value) == (
        "The graft 'one' below 'two' is a mask over 18 weights without values, and 'two' is to be packed into 18. "
        "Expected tasks that were packed into the same ones. Name the same weights."
    )


def test_a_share_that_leaves_nothing_is_refused_before_training():
    carry_out(PackNet(sparsity=0.01, scope="global"), make_order(name="one"))
    with pytest.raises(OptionError) as refused:
        carry_out(PackNet(sparsity=0.995, scope="global"), make_order(name="two", under="one"))
    assert str(refused.value) == (
        "A sparsity of 0.995 in the scope 'global' leaves 'two' none of the 54 weights that are free. At least one was "
        "expected. Give a smaller sparsity."
    )
    assert not list(Path("store/.checkpoints").glob("two*"))


def test_groups_are_for_the_first_task_alone():
    method = PackNet(sparsity=0.5, scope="2:4")
    carry_out(method, make_order(name="one"))
    with pytest.raises(OptionError) as refused:
        carry_out(method, make_order(name="two", under="one"))
    assert str(refused.value) == (
        "The scope '2:4' chooses among whole groups of weights, and the tasks below 'two' have taken some of each. "
        "Expected global, tensor or row. Choose one of them."
    )
