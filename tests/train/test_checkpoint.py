"""Checkpoints on disk: whole or not there, the newest that is sound, and only of the same training."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from polygraft.store import files
from polygraft.train import checkpoint
from polygraft.train.checkpoint import Checkpoints

KEY, OTHER = "a" * 64, "b" * 64


def save(folder: Path, step: int, *, key: str = KEY) -> None:
    Checkpoints(folder, key=key).save(
        step, {"x": torch.full((2, 3), float(step))}, {"step": step, "best": None}
    )


def list_steps(folder: Path) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in folder.iterdir())


def read_step(folder: Path, *, key: str = KEY) -> int | None:
    state = Checkpoints(folder, key=key).load()
    return None if state is None else state.facts.get("step")


def test_what_was_saved_comes_back(tmp_path: Path):
    folder = tmp_path / "deep" / "down"
    tensors = {"x": torch.randn(3, 2).T, "step": torch.tensor(4.0)}
    Checkpoints(folder, key=KEY).save(7, tensors, {"step": 7, "curve": [{"loss": 0.1}]})
    state = Checkpoints(folder, key=KEY).load()
    assert state is not None
    assert all(torch.equal(state.tensors[name], tensor) for name, tensor in tensors.items())
    assert (state.facts["step"], state.facts["curve"], state.damaged) == (7, [{"loss": 0.1}], ())


def test_there_is_nothing_to_load_before_the_first(tmp_path: Path):
    assert Checkpoints(tmp_path / "none", key=KEY).load() is None


def test_two_are_kept(tmp_path: Path):
    for step in (1, 2, 9, 10):
        save(tmp_path, step)
    assert list_steps(tmp_path) == [9, 10]
    assert read_step(tmp_path) == 10


def test_those_of_another_training_are_not_used_and_make_room(tmp_path: Path):
    save(tmp_path, 900, key=OTHER)
    assert read_step(tmp_path) is None
    save(tmp_path, 5)
    assert list_steps(tmp_path) == [5]
    assert read_step(tmp_path) == 5
    assert read_step(tmp_path, key=OTHER) is None


def damage(path: Path, how: str) -> None:
    tensors, facts = path / checkpoint.TENSORS, path / checkpoint.FACTS
    if how == "cut":
        tensors.write_bytes(tensors.read_bytes()[:-5])
    elif how == "bit":
        data = bytearray(tensors.read_bytes())
        data[-1] ^= 1
        tensors.write_bytes(bytes(data))
    elif how == "gone":
        tensors.unlink()
    elif how == "number":
        facts.write_text(facts.read_text().replace('"step": 2', '"step": 3'))
    elif how == "facts":
        facts.write_text(facts.read_text()[:20])
    else:
        facts.write_text(json.dumps(["step"]))


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("cut", "ValueError"),
        ("bit", "ValueError"),
        ("number", "ValueError"),
        ("gone", "FileNotFoundError"),
        ("facts", "JSONDecodeError"),
        ("list", "TypeError"),
    ],
)
def test_a_damaged_one_gives_way_to_the_one_before_with_a_sentence(tmp_path: Path, how: str, error: str):
    save(tmp_path, 1)
    save(tmp_path, 2)
    newest = max(tmp_path.iterdir())
    damage(newest, how)
    state = Checkpoints(tmp_path, key=KEY).load()
    assert state is not None
    assert state.facts["step"] == 1
    assert state.damaged == (
        f"The checkpoint {newest.name} in {tmp_path} cannot be read ({error}); training goes on from the one before, "
        "or from the start if there is none.",
    )


def test_where_all_are_damaged_each_has_its_sentence(tmp_path: Path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    for path in tmp_path.iterdir():
        damage(path, "cut")
    state = Checkpoints(tmp_path, key=KEY).load()
    assert state is not None
    assert (dict(state.tensors), dict(state.facts), len(state.damaged)) == ({}, {}, 2)


def test_damaged_ones_of_later_steps_make_room_for_what_is_written_next(tmp_path: Path):
    for step in (6, 9):
        save(tmp_path, step)
    for path in tmp_path.iterdir():
        damage(path, "cut")
    checkpoints = Checkpoints(tmp_path, key=KEY)
    checkpoints.load()
    assert list_steps(tmp_path) == [6, 9]
    checkpoints.save(2, {"x": torch.zeros(1)}, {"step": 2})
    assert list_steps(tmp_path) == [2]
    assert read_step(tmp_path) == 2
    checkpoints.save(4, {"x": torch.zeros(1)}, {"step": 4})
    assert list_steps(tmp_path) == [2, 4]


def test_what_was_just_written_is_kept_beside_those_of_later_steps(tmp_path: Path):
    for step in (6, 9, 2):
        save(tmp_path, step)
    assert list_steps(tmp_path) == [2, 9]


class Crash(BaseException):
    pass


@pytest.mark.parametrize("at", range(4))
def test_a_crash_between_two_files_leaves_the_one_before(
    tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
):
    save(tmp_path, 1)
    calls: list[str] = []

    def crash(name: str, real: object) -> object:
        def act(*arguments: object) -> object:
            calls.append(name)
            if len(calls) > at:
                raise Crash
            return real(*arguments)  # type: ignore[operator]

        return act

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_new", crash("write", files.write_new))
        patch.setattr(checkpoint, "sync_folder", crash("sync", files.sync_folder))
        with pytest.raises(Crash):
            save(tmp_path, 2)
    assert calls == ["write", "write", "sync", "sync"][: at + 1]
    assert read_step(tmp_path) == (2 if at == 3 else 1)
    save(tmp_path, 3)
    assert list_steps(tmp_path) == ([2, 3] if at == 3 else [1, 3])


def test_clearing_removes_the_folder(tmp_path: Path):
    save(tmp_path / "one", 1)
    Checkpoints(tmp_path / "one", key=KEY).clear()
    Checkpoints(tmp_path / "one", key=KEY).clear()
    assert list(tmp_path.iterdir()) == []


def interrupt_at(place: int, patch: pytest.MonkeyPatch) -> list[str]:
    """Let the process end right before its deed of a number on the disk, counted from 0."""
    calls: list[str] = []

    def watch(owner: object, name: str) -> None:
        real = vars(owner)[name]

        def act(*arguments: object, **options: object) -> object:
            calls.append(name)
            if len(calls) > place:
                raise Crash
            return real(*arguments, **options)

        patch.setattr(owner, name, act)

    for name in ("write_new", "sync_folder"):
        watch(checkpoint, name)
    for name in ("mkdir", "rename"):
        watch(Path, name)
    watch(checkpoint.shutil, "rmtree")
    return calls


@pytest.mark.parametrize("before", [(5,), (4, 5), (3, 4, 5)])
def test_of_a_step_that_is_saved_again_one_checkpoint_is_whole_at_every_moment(
    before: tuple[int, ...], tmp_path: Path
):
    """A process is ended before each of its deeds, and the next one saves the step again; so twice over."""
    place, is_interrupted = 0, True
    while is_interrupted:
        folder = tmp_path / str(place)
        for step in before:
            save(folder, step)
        for _ in range(2):
            with pytest.MonkeyPatch.context() as patch, suppress(Crash):
                calls = interrupt_at(place, patch)
                save(folder, 5)
            is_interrupted = len(calls) > place
            state = Checkpoints(folder, key=KEY).load()
            assert state is not None
            assert (state.facts["step"], state.damaged) == (5, ())
        save(folder, 5)
        assert list_steps(folder) == [*before[-2:-1], 5]
        place += 1
    assert place > 8


@pytest.mark.parametrize("damaged", [None, "", checkpoint.AGAIN])
def test_of_two_of_one_step_that_a_process_left_a_sound_one_stays(damaged: str | None, tmp_path: Path):
    place, is_interrupted = 0, True
    while is_interrupted:
        folder = tmp_path / str(place)
        save(folder, 5)
        [usual] = folder.iterdir()
        shutil.copytree(usual, folder / f"{usual.name}{checkpoint.AGAIN}")
        if damaged is not None:
            damage(folder / f"{usual.name}{damaged}", "cut")
        checkpoints = Checkpoints(folder, key=KEY)
        checkpoints.load()
        with pytest.MonkeyPatch.context() as patch, suppress(Crash):
            calls = interrupt_at(place, patch)
            checkpoints.save(5, {"x": torch.zeros(1)}, {"step": 5})
        is_interrupted = len(calls) > place
        assert read_step(folder) == 5
        place += 1
    assert list_steps(folder) == [5]
    assert place > 8
