"""Tasks packed one after the other into one set of weights."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.recipe.by_method import SETTINGS, carry_out, count, load_graft, make_order
from tests.tiny import make_base, make_batch
from torch import Tensor

from polygraft.attach.attach import attach
from polygraft.attach.sparse import find_edit
from polygraft.errors import OptionError
from polygraft.parts.mask import MaskLayers
from polygraft.recipe.methods import LtSft, PackNet

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
