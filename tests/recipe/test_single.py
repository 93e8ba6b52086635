"""One graft trained outside of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import make_base

from polygraft.errors import OptionError, PlanError
from polygraft.recipe.single import Order, train_graft
from polygraft.store.manifest import Manifest
from polygraft.store.store import Store
from polygraft.train.loop import Interrupted
from polygraft.train.settings import TrainSettings
from polygraft.train.step import Step

SETTINGS = TrainSettings(steps=4, batch_tokens=96)


def make_order(**changes: Any) -> Order:
    data = Path("data")
    files = {
        "mlm": {"train": data / "en.txt"},
        "tokens": {"train": data / "train.conll", "dev": data / "dev.conll"},
    }
    objective = changes.get("objective", "tokens")
    return Order(
        **{"name": "new", "objective": objective, "settings": SETTINGS, **files[objective], **changes}
    )


def train(order: Order, store: str = "store", **options: Any) -> tuple[list[Step], Manifest]:
    *steps, stored = train_graft(make_base("bert"), order, store=Store(Path(store)), **options)
    assert isinstance(stored, Manifest)
    return [step for step in steps if isinstance(step, Step)], stored


def stop_after(count: int) -> Callable[[], bool]:
    asked: list[int] = []
    return lambda: bool(asked.append(1)) or len(asked) == count


@pytest.mark.parametrize("objective", ["mlm", "tokens"])
@pytest.mark.usefixtures("here")
def test_a_stopped_order_goes_on_and_ends_with_the_same_bytes(objective: str):
    whole = train(make_order(objective=objective), store="whole")[1]
    with pytest.raises(Interrupted, match="after step 2 of 4"):
        train(make_order(objective=objective), should_stop=stop_after(2))
    steps, stored = train(make_order(objective=objective))
    assert [step.number for step in steps] == [3, 4]
    assert (stored.sha256, stored.step, stored.scores) == (whole.sha256, whole.step, whole.scores)
    assert not Path("store/.checkpoints/new").exists()


@pytest.mark.usefixtures("here")
def test_an_order_that_was_carried_out_is_not_trained_again():
    first = train(make_order())[1]
    assert train(make_order()) == ([], first)
    again, second = train(make_order(settings=TrainSettings(steps=2, batch_tokens=96)))
    assert (len(again), second.version) == (2, 2)


@pytest.mark.usefixtures("here")
def test_a_damaged_checkpoint_is_told():
    with pytest.raises(Interrupted):
        train(make_order(), should_stop=stop_after(3))
    [path] = Path("store/.checkpoints/new").iterdir()
    (path / "state.safetensors").write_bytes(b"x")
    told: list[str] = []
    steps, _ = train(make_order(), notify=told.append)
    assert len(steps) == 4
    assert told[:1] == [
        f"The checkpoint {path.name} in {path.parent} cannot be read (ValueError); training goes on from the one "
        "before, or from the start if there is none."
    ]
    assert [sentence.partition(":")[0] for sentence in told[1:]] == ["The best dev score of 'new' is 0"]


@pytest.mark.usefixtures("here")
def test_a_graft_is_trained_over_frozen_ones_and_says_so():
    below = train(make_order(name="en", objective="mlm"))[1]
    _, stored = train(make_order(under="en"))
    assert stored.trained_under == "stack(en, new)"
    assert [(member.name, member.version, member.sha256) for member in stored.members] == [
        ("en", 1, below.sha256)
    ]
    assert [(record.name, record.num_examples) for record in stored.data] == [
        ("train train.conll", 30),
        ("dev dev.conll", 10),
    ]
    assert Store(Path("store")).verify("en").sha256 == below.sha256


@pytest.mark.usefixtures("here")
def test_a_graft_cannot_stand_on_itself():
    train(make_order())
    with pytest.raises(PlanError) as caught:
        train(make_order(under="new"))
    assert str(caught.value) == (
        "The plan 'new' below the new graft 'new' names 'new', which is there already. Each graft stands in a plan "
        "once. Choose another name."
    )


@pytest.mark.usefixtures("here")
def test_text_needs_a_masked_lm_head():
    base = make_base("bert", with_head=False)
    with pytest.raises(PlanError) as caught:
        list(train_graft(base, make_order(objective="mlm"), store=Store(Path("store"))))
    assert str(caught.value) == (
        "The base 'tiny-bert' has no masked-LM head, and no graft below 'new' has one. Expected one to train "
        "against. Train one with it (--head-layer 8), or name a graft that has one (--under mlm)."
    )


@pytest.mark.usefixtures("here")
def test_a_graft_needs_a_part():
    with pytest.raises(OptionError) as caught:
        train(make_order(objective="mlm", reduction=0))
    assert str(caught.value) == (
        "The graft 'new' would have no part: the reduction is 0, and no head or invertible part is asked for. Give a "
        "reduction above 0, such as 2."
    )
