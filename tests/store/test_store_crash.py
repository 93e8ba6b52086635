"""A process may die between any two of its steps; the store is whole all the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.store.made import MANIFEST, manifest, tensors

from polygraft.errors import StoreError
from polygraft.store.files import locked
from polygraft.store.store import Store


class CrashError(BaseException):
    """The process dies here: nothing after it runs, no cleaning either."""


def die_at(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every change of the disk from a given one on be the process's death."""
    done = 0

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def step(*args: object, **options: object) -> object:
            nonlocal done
            done += 1
            if done >= call:
                raise CrashError
            return real(*args, **options)

        return step

    for name in ("rename", "replace", "mkdir", "unlink", "hardlink_to"):
        monkeypatch.setattr(Path, name, dying(vars(Path)[name]))
    monkeypatch.setattr(os, "fsync", dying(os.fsync))
    monkeypatch.setattr(shutil, "rmtree", dying(shutil.rmtree))


def deaths(store: Store, deed: Callable[[Store], object], monkeypatch: pytest.MonkeyPatch) -> int:
    """Die at every step of a deed, on a fresh copy each time; after each death the store must be whole."""
    copy = store.folder.with_name("copy")
    for call in range(1, 100):
        shutil.copytree(store.folder, copy)
        with monkeypatch.context() as patch:
            die_at(call, patch)
            try:
                deed(Store(copy))
                finished = True
            except CrashError:
                finished = False
        check_whole(Store(copy))
        shutil.rmtree(copy)
        if finished:
            return call - 1
    raise AssertionError("The deed never ended.")


def check_whole(store: Store) -> None:
    for name in store.names():
        assert store.latest(name) in store.versions(name)
        for version in store.versions(name):
            assert store.verify(name, version=version).version == version
    before = store.versions("keep")
    assert store.put(manifest(name="keep"), tensors()).version == before[-1] + 1
    assert not [path.name for path in store.folder.iterdir() if path.name.startswith(".part-")]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    for name in ("keep", "ner", "ner"):
        store.put(manifest(name=name), tensors())
    return store


def test_a_put_may_die_at_any_step(store: Store, monkeypatch: pytest.MonkeyPatch):
    assert deaths(store, lambda store: store.put(manifest(name="new"), tensors()), monkeypatch) >= 10
    assert deaths(store, lambda store: store.put(MANIFEST, tensors()), monkeypatch) >= 8


def test_a_remove_may_die_at_any_step(store: Store, monkeypatch: pytest.MonkeyPatch):
    assert deaths(store, lambda store: store.remove("ner", version=2), monkeypatch) >= 5
    assert deaths(store, lambda store: store.remove("ner"), monkeypatch) >= 3


def test_a_rename_may_die_at_any_step_and_one_of_the_names_is_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    def rename(store: Store) -> None:
        try:
            store.rename("ner", "pos")
        finally:
            assert {"ner", "pos"} & set(store.names())
            assert all(store.versions(name) == [1, 2] for name in store.names() if name != "keep")

    assert deaths(store, rename, monkeypatch) >= 10


def test_a_writer_waits_for_the_lock_and_gives_up_with_a_sentence(tmp_path: Path):
    with locked(tmp_path), pytest.raises(StoreError) as caught, locked(tmp_path, seconds=0.05):
        pass
    assert str(caught.value) == (
        f"Another process has been writing to the store {tmp_path} for 0.05 seconds. One process at a time "
        "may change a store. Wait for it or end it, then try again."
    )


def test_threads_that_put_at_once_get_different_versions(tmp_path: Path):
    with ThreadPoolExecutor(4) as pool:
        put = [pool.submit(Store(tmp_path).put, MANIFEST, tensors()) for _ in range(8)]
    assert sorted(future.result().version for future in put) == list(range(1, 9))


@pytest.mark.slow
def test_processes_that_put_at_once_get_different_versions(tmp_path: Path):
    script = (
        "import sys; from tests.store.made import MANIFEST, tensors\n"
        "from polygraft.store.store import Store\n"
        "for _ in range(5): sys.stdout.write(f'{Store(sys.argv[1]).put(MANIFEST, tensors()).version} ')"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    versions = [int(word) for process in running for word in process.communicate()[0].split()]
    assert sorted(versions) == list(range(1, 11))
    assert Store(tmp_path).versions("ner") == list(range(1, 11))
