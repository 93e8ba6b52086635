"""Several grafts of one task in one pass end as each does alone."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.recipe.material import read_grafts
from tests.recipe.test_single import make_order, stop_after, train
from tests.tiny import make_base

from polygraft.errors import OptionError, PlanError, TrainError
from polygraft.recipe.order import Order
from polygraft.recipe.several import spread_seeds, train_grafts
from polygraft.store.manifest import Manifest
from polygraft.store.store import Store
from polygraft.train.loop import Interrupted, Training
from polygraft.train.settings import TrainSettings
from polygraft.train.step import Step

SETTINGS = TrainSettings(epochs=2, batch_tokens=96, lr=1e-2)


def make_orders(*seeds: int, **changes: Any) -> list[Order]:
    return spread_seeds(make_order(**{"settings": SETTINGS, "skip_layers": (0, 1), **changes}), seeds)


def train_all(
    orders: list[Order], store: str = "store", **options: Any
) -> tuple[list[tuple[str, int]], dict[str, Manifest]]:
    """The updates with the names of their grafts, and the manifests by name."""
    events = list(train_grafts(make_base("bert"), orders, store=Store(Path(store)), **options))
    steps = [(order.name, item.number) for order, item in events if isinstance(item, Step)]
    return steps, {order.name: item for order, item in events if isinstance(item, Manifest)}


@pytest.mark.usefixtures("here")
def test_each_has_the_bytes_and_the_manifest_that_it_has_alone():
    orders = make_orders(0, 1, 7)
    alone = {order.name: train(order, store="alone")[1] for order in orders}
    steps, together = train_all(orders, store="together")
    assert steps[:4] == [("new-s0", 1), ("new-s1", 1), ("new-s7", 1), ("new-s0", 2)]
    assert read_grafts(Path("together")) == read_grafts(Path("alone"))
    assert len(set(read_grafts(Path("alone")).values())) == 3
    assert list(together) == list(alone)
    for name, manifest in together.items():
        assert replace(manifest, cost={}, created="") == replace(alone[name], cost={}, created="")
    assert [manifest.cost["looked_up"] for manifest in alone.values()] == [0.5] * 3
    # Whichever comes to a batch first computes it for all.
    assert [manifest.cost["looked_up"] > 0.5 for manifest in together.values()] == [True] * 3
    assert not list(Path("together/.checkpoints").glob("new*"))


@pytest.mark.usefixtures("here")
def test_over_a_frozen_graft_too():
    train(make_order(name="en", objective="mlm"), store="alone")
    train(make_order(name="en", objective="mlm"), store="together")
    orders = make_orders(0, 1, under="en")
    for order in orders:
        train(order, store="alone")
    _, together = train_all(orders, store="together")
    assert read_grafts(Path("together")) == read_grafts(Path("alone"))
    assert {manifest.trained_under for manifest in together.values()} == {
        "stack(en, new-s0)",
        "stack(en, new-s1)",
    }
    sums = [sum(manifest.cost[key] for manifest in together.values()) for key in ("looked_up",)]
    assert sums == [pytest.approx(2 - 1 / 2)]


@pytest.mark.usefixtures("here")
def test_all_that_were_stopped_go_on_and_end_with_the_same_bytes():
    orders = make_orders(0, 1)
    train_all(orders, store="whole")
    with pytest.raises(Interrupted) as caught:
        train_all(orders, should_stop=stop_after(4))
    total = int(str(caught.value).split(" of ")[2].split()[0])
    assert str(caught.value) == (
        f"Training of 'new-s0', 'new-s1' was stopped after 5 of {total} steps, and all of it is saved. Give the same "
        "command again to go on."
    )
    told: list[str] = []
    steps, _ = train_all(orders, notify=told.append)
    assert steps[:3] == [("new-s0", 4), ("new-s1", 3), ("new-s0", 5)]
    assert told[:2] == [
        f"Training of 'new-s0' goes on after step 3 of {total // 2}.",
        f"Training of 'new-s1' goes on after step 2 of {total // 2}.",
    ]
    assert read_grafts(Path("store")) == read_grafts(Path("whole"))


@pytest.mark.usefixtures("here")
def test_those_that_are_done_are_not_done_again():
    orders = make_orders(0, 1, 2)
    first = train(orders[1])[1]
    steps, stored = train_all(orders)
    assert {name for name, _ in steps} == {"new-s0", "new-s2"}
    assert stored["new-s1"] == first
    again, found = train_all(orders)
    assert (again, found) == ([], stored)
    assert Store(Path("store")).versions("new-s1") == [1]


@pytest.mark.usefixtures("here")
def test_one_that_ends_early_is_stored_though_the_others_are_stopped(monkeypatch: pytest.MonkeyPatch):
    is_done = Training._is_done

    def end_one(training: Training) -> bool:
        return (training.graft.name == "new-s0" and training.progress.step == 1) or is_done(training)

    monkeypatch.setattr(Training, "_is_done", end_one)
    with pytest.raises(Interrupted, match=r"Training of 'new-s1' was stopped after 2 of \d+ steps"):
        train_all(make_orders(0, 1), should_stop=stop_after(3))
    assert Store(Path("store")).names() == ["new-s0"]


@pytest.mark.usefixtures("here")
def test_one_that_cannot_go_on_is_left_out_and_the_others_are_stored(monkeypatch: pytest.MonkeyPatch):
    orders = make_orders(0, 1)
    alone = train(orders[1], store="alone")[1]
    take = Training._take

    def spoil(training: Training, number: int, started: float) -> Step:
        if (training.graft.name, number) == ("new-s0", 1):
            next(iter(training.parameters.values())).data.fill_(math.nan)
        return take(training, number, started)

    monkeypatch.setattr(Training, "_take", spoil)
    told: list[str] = []
    events: list[tuple[str, Step | Manifest]] = []
    with pytest.raises(TrainError) as caught:
        for order, item in train_grafts(
            make_base("bert"), orders, store=Store(Path("store")), notify=told.append
        ):
            events.append((order.name, item))
    step = next(item for _, item in events if isinstance(item, Step) and item.number == 2)
    sentence = (
        f"The loss of 'new-s0' is nan at step 2 of {step.total}. Expected a number. Lower the learning rate (it is "
        f"{step.lr:g}), and train again."
    )
    assert str(caught.value) == f"{sentence} What could be trained to its end is stored: 'new-s1'."
    assert told[:1] == [f"{sentence} It is left out, and the others go on."]
    name, stored = events[-1]
    assert isinstance(stored, Manifest)
    assert (name, stored.sha256) == ("new-s1", alone.sha256)
    assert list(read_grafts(Path("store"))) == list(read_grafts(Path("alone")))


@pytest.mark.usefixtures("here")
def test_where_it_is_kept_is_no_part_of_an_order_unless_it_is_rounded():
    first = train(make_order())[1]
    for changes in ({"cache": "off"}, {"cache_gib": 0.0}):
        assert train(make_order(**changes)) == ([], first)
    assert train(make_order(cache="half"))[1].version == 2
    assert train(make_order(cache="half", cache_gib=1.0))[1].version == 2


@pytest.mark.usefixtures("here")
def test_the_cache_is_kept_as_it_was_asked_for():
    changes = {"settings": SETTINGS, "skip_layers": (0, 1)}
    costs = [
        train(make_order(name=name, **changes, **more))[1].cost
        for name, more in {
            "exact": {},
            "half": {"cache": "half"},
            "off": {"cache": "off"},
            "files": {"cache_gib": 0.0},
        }.items()
    ]
    exact, half, off, files = costs
    assert exact["cache_memory_bytes"] == 2 * half["cache_memory_bytes"] == files["cache_file_bytes"] > 0
    assert (exact["cache_file_bytes"], files["cache_memory_bytes"]) == (0, 0)
    assert "looked_up" not in off


@pytest.mark.parametrize(
    ("orders", "sentence"),
    [
        ([], "No graft was asked for. Expected one order or more. Give one for each seed."),
        (
            [make_order(name="a"), make_order(name="a")],
            "Two grafts of one pass are called 'a'. Expected a name for each. Rename one of them.",
        ),
        (
            [make_order(name="a"), make_order(name="b", reduction=4)],
            "The grafts 'a' and 'b' were to be trained in one pass, and differ in more than name and seed. Expected "
            "the same data and settings. Train them one after the other.",
        ),
        (
            [make_order(objective="mlm")],
            "The graft 'new' learns from plain text. Expected grafts that learn labels: only these share what frozen "
            "layers give. Train it alone.",
        ),
    ],
)
@pytest.mark.usefixtures("here")
def test_orders_that_cannot_go_together_are_refused(orders: list[Order], sentence: str):
    with pytest.raises(OptionError) as caught:
        train_all(orders)
    assert str(caught.value) == sentence


@pytest.mark.usefixtures("here")
def test_none_of_them_can_stand_on_itself():
    train(make_order(name="new-s1"))
    with pytest.raises(PlanError) as caught:
        train_all(make_orders(0, 1, under="new-s1"))
    assert str(caught.value) == (
        "The plan 'new-s1' below the new graft 'new-s1' names 'new-s1', which is there already. Each graft stands in a "
        "plan once. Choose another name."
    )
