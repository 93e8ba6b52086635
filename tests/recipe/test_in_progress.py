"""Where trainings outside of a recipe keep their checkpoints: apart from each other, and one process at a time."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tests.recipe.test_several import make_orders, train_all
from tests.recipe.test_single import SETTINGS, make_order, stop_after, train
from tests.tiny import make_base

from polygraft.errors import TrainError
from polygraft.recipe.in_progress import find_folder, hold_folder
from polygraft.recipe.methods import LtSft
from polygraft.recipe.single import train_graft
from polygraft.recipe.single_sparse import SparseOrder, train_sparse
from polygraft.store.files import locked
from polygraft.store.store import Store
from polygraft.train.loop import Interrupted
from polygraft.train.step import Step

OTHERS = dataclasses.replace(SETTINGS, lr=0.5)
PLACE = Path("store/.checkpoints")


def list_trainings() -> list[str]:
    """The trainings that are not done, by the names of their grafts."""
    return sorted(path.name.rpartition("-")[0] for path in PLACE.glob("*/"))


def say_at_work(folder: Path, name: str = "new") -> str:
    return (
        f"Another training of '{name}' with the same data and settings is at work in {folder}. Expected one at a time, "
        "because they would remove each other's checkpoints. Wait for it or end it, and then give the same command "
        "again."
    )


@pytest.mark.usefixtures("here")
def test_a_stopped_training_outlasts_one_with_other_settings():
    whole = train(make_order(), store="whole")[1]
    with pytest.raises(Interrupted):
        train(make_order(), should_stop=stop_after(3))
    with pytest.raises(Interrupted):
        train(make_order(settings=OTHERS), should_stop=stop_after(2))
    assert list_trainings() == ["new", "new"]
    steps, stored = train(make_order())
    assert [step.number for step in steps] == [4]
    assert stored.sha256 == whole.sha256
    assert [step.number for step in train(make_order(settings=OTHERS))[0]] == [3, 4]
    assert list_trainings() == []


@pytest.mark.usefixtures("here")
def test_two_trainings_of_one_name_do_not_disturb_each_other():
    every = dataclasses.replace(SETTINGS, checkpoint_every=1)
    order, other = make_order(settings=every), make_order(settings=dataclasses.replace(every, lr=0.5))
    first = train_graft(make_base("bert"), order, store=Store(Path("store")))
    for _ in range(3):
        next(first)
    train(other)
    # Nobody wants more of it, so that its third update is saved as well.
    first.close()
    assert [step.number for step in train(order)[0]] == [4]


@pytest.mark.usefixtures("here")
def test_the_same_training_twice_at_once_is_refused():
    first = train_graft(make_base("bert"), make_order(), store=Store(Path("store")))
    next(first)
    with pytest.raises(TrainError) as refused:
        train(make_order())
    [folder] = PLACE.glob("new-*")
    assert str(refused.value) == say_at_work(folder)
    assert len([*first]) == 4
    assert list_trainings() == []
    assert train(make_order())[0] == []


@pytest.mark.usefixtures("here")
def test_several_seeds_at_once_hold_each_of_their_trainings():
    first = train_graft(make_base("bert"), make_orders(1)[0], store=Store(Path("store")))
    next(first)
    with pytest.raises(TrainError) as refused:
        train_all(make_orders(0, 1), store="store")
    [folder] = PLACE.glob("new-s1-*")
    assert str(refused.value) == say_at_work(folder, "new-s1")
    # What was held for the other seed is let go, with nothing in it.
    assert list_trainings() == ["new-s1"]
    first.close()


@pytest.mark.usefixtures("here")
def test_the_same_pruning_twice_at_once_is_refused():
    wanted, store = SparseOrder(order=make_order(), method=LtSft(density=0.5)), Store(Path("store"))
    first = train_sparse(make_base("bert"), wanted, store=store)
    while not isinstance(next(first), Step):
        pass
    with pytest.raises(TrainError) as refused:
        next(train_sparse(make_base("bert"), wanted, store=store))
    [folder] = PLACE.glob("new-*")
    assert str(refused.value) == say_at_work(folder)
    for _ in first:
        pass
    assert list_trainings() == []


def test_a_folder_without_a_checkpoint_vanishes(tmp_path: Path):
    store, digest = Store(tmp_path), "0123456789abcdef" + "0" * 48
    with hold_folder(store, "new", digest) as folder:
        assert (
            folder == find_folder(store, "new", digest) == tmp_path / ".checkpoints" / "new-0123456789abcdef"
        )
        assert folder.is_dir()
    assert not folder.parent.exists()
    with hold_folder(store, "new", digest):
        (folder / "step").mkdir()
    assert (folder / "step").is_dir()


def test_a_folder_that_another_process_has_taken_meanwhile_stays(tmp_path: Path):
    with hold_folder(Store(tmp_path), "new", "0" * 64) as folder:
        (folder / ".lock").unlink()
        folder.rmdir()
        folder.mkdir()
        other = locked(folder)
        other.__enter__()
    assert (folder / ".lock").is_file()
    other.__exit__(None, None, None)
