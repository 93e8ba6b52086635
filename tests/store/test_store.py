from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from attacks.attack import digest_of
from tests.store.made import MANIFEST, manifest, tensors

from polygraft.errors import NotInStoreError, StoreError
from polygraft.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_graft_comes_back_as_it_was_put(store: Store):
    put = store.put(MANIFEST, tensors(0.5))
    found, numbers = store.get("ner")
    assert found == put
    assert {name: tensor.tolist() for name, tensor in numbers.items()} == {
        name: tensor.tolist() for name, tensor in tensors(0.5).items()
    }


def test_what_only_the_store_knows_is_filled_in(store: Store):
    put = store.put(manifest(version=9, sha256="", num_bytes=3), tensors())
    path = store.folder / "ner" / "1" / "graft.safetensors"
    assert (put.version, put.num_parameters, put.num_bytes) == (1, 12, path.stat().st_size)
    assert put.tensors["bottleneck.0.up"].shape == (3, 2)
    assert put.tensors["bottleneck.0.up"].dtype == "bfloat16"


def test_putting_twice_gives_two_versions_with_equal_bytes(store: Store):
    first, second = store.put(MANIFEST, tensors()), store.put(MANIFEST, tensors())
    assert (first.version, second.version, first.sha256) == (1, 2, second.sha256)
    folder = store.folder / "ner"
    assert (folder / "1/graft.safetensors").read_bytes() == (folder / "2/graft.safetensors").read_bytes()


def test_the_latest_version_is_read_unless_another_is_named(store: Store):
    store.put(MANIFEST, tensors(1.0))
    store.put(MANIFEST, tensors(2.0))
    assert store.latest("ner") == 2
    assert store.get("ner")[1]["bottleneck.0.down"][0, 0] == 2.0
    assert store.get("ner", version=1)[1]["bottleneck.0.down"][0, 0] == 1.0


def test_a_name_can_be_made_to_mean_an_older_version(store: Store):
    for value in (1.0, 2.0):
        store.put(MANIFEST, tensors(value))
    store.point("ner", 1)
    assert store.get("ner")[1]["bottleneck.0.down"][0, 0] == 1.0
    with pytest.raises(NotInStoreError) as refusal:
        store.point("ner", 3)
    assert str(refusal.value) == (
        f"The store {store.folder} holds no version 3 of the graft 'ner'. It holds 1, 2. Ask for one of these."
    )
    assert store.latest("ner") == 1


def test_names_and_versions_are_sorted_and_strays_left_out(store: Store):
    for name in ["qu", "en", "en"]:
        store.put(manifest(name=name), tensors())
    (store.folder / ".DS_Store").write_text("", "utf-8")
    (store.folder / "notes.txt").write_text("", "utf-8")
    (store.folder / "empty").mkdir()
    (store.folder / "en" / "01").mkdir()
    assert store.names() == ["en", "qu"]
    assert store.versions("en") == [1, 2]


def test_a_missing_graft_gets_the_nearest_name(store: Store):
    store.put(MANIFEST, tensors())
    with pytest.raises(NotInStoreError) as caught:
        store.get("nre")
    assert str(caught.value) == (
        f"The store {store.folder} holds no graft 'nre'. Did you mean 'ner'? "
        f"`polygraft grafts list --store {store.folder}` shows all 1."
    )


def test_an_empty_store_says_so(store: Store):
    assert store.names() == []
    for ask in (store.get, store.manifest, store.verify, store.versions, store.latest, store.remove):
        with pytest.raises(NotInStoreError) as caught:
            ask("ner")
        assert str(caught.value) == f"The store {store.folder} holds no graft 'ner'. The store is empty."
    assert not store.folder.exists()


@pytest.mark.parametrize("version", [0, -1, 3, 10**12])
def test_a_missing_version_gets_those_there_are(store: Store, version: int):
    store.put(MANIFEST, tensors())
    store.put(MANIFEST, tensors())
    for ask in (store.get, store.remove):
        with pytest.raises(NotInStoreError) as caught:
            ask("ner", version=version)
        assert str(caught.value) == (
            f"The store {store.folder} holds no version {version} of the graft 'ner'. It holds 1, 2. "
            "Ask for one of these."
        )


def test_a_name_with_a_path_reaches_no_file(store: Store):
    for ask in (store.get, store.manifest, store.versions, store.latest, store.remove):
        with pytest.raises(StoreError, match=r"'\.\./\.\./etc' cannot be a graft's name"):
            ask("../../etc")
    with pytest.raises(StoreError, match=r"'\.\./x' cannot be a graft's name"):
        store.put(manifest(name="../x"), tensors())


def test_nan_is_refused_and_leaves_nothing_behind(store: Store):
    with pytest.raises(
        StoreError,
        match=r"Graft 'ner' has the tensor 'bottleneck\.0\.down' with numbers that are NaN or infinite: 6 of 6",
    ):
        store.put(MANIFEST, tensors(float("nan")))
    assert store.names() == []
    assert [path.name for path in store.folder.iterdir()] == [".lock"]


def test_a_manifest_that_no_reader_would_take_is_not_written(store: Store):
    with pytest.raises(StoreError, match=r"^Graft 'ner': 'created' is 'today' where a date"):
        store.put(manifest(created="today"), tensors())
    assert store.names() == []


def test_a_name_that_differs_in_capitals_only_is_refused(store: Store):
    store.put(MANIFEST, tensors())
    with pytest.raises(StoreError) as caught:
        store.put(manifest(name="NER"), tensors())
    assert str(caught.value) == (
        f"The store {store.folder} holds the graft 'ner', which differs from 'NER' in capital letters only. "
        "Some file systems take both for one. Choose another name."
    )


def test_a_put_follows_no_link_out_of_the_store(store: Store, tmp_path: Path):
    (tmp_path / "outside").mkdir()
    store.folder.mkdir()
    (store.folder / "ner").symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError, match="ner is a symbolic link where a folder was expected"):
        store.put(MANIFEST, tensors())
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_store_that_is_a_file_gets_a_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(StoreError) as caught:
        Store(tmp_path / "file").put(MANIFEST, tensors())
    assert str(caught.value) == (
        f"The store {tmp_path / 'file'} cannot be changed: File exists. "
        "A folder with room that may be written was expected. Make room or choose another folder."
    )


def test_a_store_must_be_a_folder_and_may_have_to_be_there(store: Store, tmp_path: Path):
    store.check_is_folder(must_exist=False)
    with pytest.raises(StoreError) as absent:
        store.check_is_folder(must_exist=True)
    assert str(absent.value) == (
        f"The store {store.folder} is not there. A folder of grafts was expected. Check the path, or "
        "name another with --store; `polygraft quickstart` and `polygraft run` make a store."
    )
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(StoreError) as file:
        Store(tmp_path / "file").check_is_folder(must_exist=False)
    assert str(file.value) == (
        f"The store {tmp_path / 'file'} is no folder. A folder of grafts was expected. Name the folder that holds "
        "them, as with --store, or remove what is in its place."
    )
    store.put(MANIFEST, tensors())
    store.check_is_folder(must_exist=True)


def test_a_full_disk_leaves_the_store_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch):
    store.put(MANIFEST, tensors())

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot be changed: No space left on device\. A folder with room"):
        store.put(MANIFEST, tensors())
    assert store.versions("ner") == [1]
    assert sorted(path.name for path in store.folder.iterdir()) == [".lock", "ner"]


def test_removing_a_version_moves_the_pointer(store: Store):
    for value in (1.0, 2.0, 3.0):
        store.put(MANIFEST, tensors(value))
    assert store.remove("ner", version=3) == [3]
    assert (store.versions("ner"), store.latest("ner")) == ([1, 2], 2)
    assert store.remove("ner") == [1, 2]
    assert store.names() == []
    assert [path.name for path in store.folder.iterdir()] == [".lock"]


def test_removing_another_version_leaves_the_pointer_where_it_is(store: Store):
    for value in (1.0, 2.0, 3.0):
        store.put(MANIFEST, tensors(value))
    store.point("ner", 1)
    assert store.remove("ner", version=2) == [2]
    assert (store.versions("ner"), store.latest("ner")) == ([1, 3], 1)
    assert store.remove("ner", version=1) == [1]
    assert (store.versions("ner"), store.latest("ner")) == ([3], 3)


def test_removing_a_version_mends_a_pointer_that_names_nothing(store: Store):
    for value in (1.0, 2.0, 3.0):
        store.put(MANIFEST, tensors(value))
    (store.folder / "ner" / "latest").write_text("9\n", "utf-8")
    assert store.remove("ner", version=1) == [1]
    assert store.latest("ner") == 3


def test_a_damaged_graft_can_be_removed(store: Store):
    store.put(MANIFEST, tensors())
    (store.folder / "ner" / "1" / "graft.json").write_text("{", "utf-8")
    assert store.remove("ner") == [1]


def test_renaming_keeps_versions_numbers_and_digests(store: Store):
    first, second = store.put(MANIFEST, tensors(1.0)), store.put(MANIFEST, tensors(2.0))
    store.rename("ner", "ner-en")
    assert store.names() == ["ner-en"]
    assert store.versions("ner-en") == [1, 2]
    assert store.latest("ner-en") == 2
    assert [store.verify("ner-en", version=v).sha256 for v in (1, 2)] == [first.sha256, second.sha256]
    raw = json.loads((store.folder / "ner-en" / "2" / "graft.json").read_text("utf-8"))
    assert (raw["name"], raw["digest"]) == ("ner-en", digest_of(raw))


def test_renaming_to_a_taken_or_bad_name_changes_nothing(store: Store):
    store.put(MANIFEST, tensors())
    store.put(manifest(name="en"), tensors())
    with pytest.raises(StoreError) as caught:
        store.rename("ner", "en")
    assert str(caught.value) == (
        f"The graft 'ner' cannot be renamed to 'en': the store {store.folder} holds a graft of that name. "
        "A free name was expected. Choose another, or remove that graft first."
    )
    with pytest.raises(StoreError, match="'a/b' cannot be a graft's name"):
        store.rename("ner", "a/b")
    assert [store.verify(name).name for name in store.names()] == ["en", "ner"]


def test_an_empty_folder_that_a_crash_left_does_not_take_a_name(store: Store):
    store.put(MANIFEST, tensors())
    (store.folder / "pos").mkdir()
    store.rename("ner", "pos")
    assert store.names() == ["pos"]


def test_a_version_that_is_a_link_is_skipped_by_the_next_put(store: Store, tmp_path: Path):
    store.put(MANIFEST, tensors())
    (store.folder / "ner" / "2").symlink_to(tmp_path)
    assert store.put(MANIFEST, tensors()).version == 3
    assert store.verify("ner", version=3).version == 3


def test_a_step_is_found_by_its_digest_and_the_newest_wins(store: Store):
    store.put(manifest(name="a", step="s1", created="2026-01-01T00:00:00+00:00"), tensors())
    store.put(manifest(name="b", step="s1", created="2026-01-01T00:00:00.5Z"), tensors())
    store.put(manifest(name="c", step="s2"), tensors())
    found = store.find_step("s1")
    assert found is not None
    assert (found[0].name, sorted(found[1])) == ("b", sorted(tensors()))
    assert store.find_step("s3") is None


def test_of_the_grafts_of_a_step_one_of_the_wanted_name_is_found(store: Store):
    for name in ("old", "old", "ner"):
        store.put(manifest(name=name, step="s1"), tensors())
    store.put(manifest(name="new", step="s1", created="2026-02-01T00:00:00+00:00"), tensors())
    for wanted, expected in (
        (None, ("new", 1)),
        ("ner", ("ner", 1)),
        ("old", ("old", 2)),
        ("qu", ("new", 1)),
    ):
        found = store.find_step("s1", name=wanted)
        assert found is not None
        assert (found[0].name, found[0].version) == expected


def test_a_damaged_graft_does_not_count_as_a_step_done(store: Store):
    store.put(manifest(step="s1"), tensors(1.0))
    store.put(manifest(step="s1"), tensors(2.0))
    path = store.folder / "ner" / "2" / "graft.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    found = store.find_step("s1")
    assert found is not None
    assert (found[0].version, found[1]["bottleneck.0.down"].tolist()) == (1, [[1.0] * 3] * 2)


def test_a_graft_that_may_not_be_read_hides_no_other(store: Store, monkeypatch: pytest.MonkeyPatch):
    for name in ("en", "ner", "qu"):
        store.put(manifest(name=name, step="s1"), tensors())
    refuse(monkeypatch, "scandir", store.folder / "ner")
    assert store.names() == ["en", "ner", "qu"]
    found = store.find_step("s1", name="ner")
    assert found is not None
    assert found[0].name in ("en", "qu")
    assert store.put(manifest(name="qu"), tensors()).version == 2
    with pytest.raises(
        NotInStoreError, match=r"holds no graft 'nre'\. Did you mean 'ner'\? .* shows all 3\.$"
    ):
        store.get("nre")
    for ask in (store.get, store.manifest, store.versions, store.latest, store.remove):
        with pytest.raises(StoreError) as caught:
            ask("ner")
        assert str(caught.value) == (
            f"The folder {store.folder / 'ner'} cannot be read: Permission denied. A folder that may be read was "
            "expected. Change its permissions or choose another store."
        )


@pytest.mark.parametrize("inner", ["1", "latest"])
def test_a_graft_that_may_not_be_looked_into_is_named(
    store: Store, monkeypatch: pytest.MonkeyPatch, inner: str
):
    store.put(MANIFEST, tensors())
    refuse(monkeypatch, "lstat", store.folder / "ner" / inner)
    assert store.names() == ["ner"]
    for ask in (store.get, store.latest):
        with pytest.raises(StoreError) as caught:
            ask("ner")
        assert str(caught.value) == (
            f"The graft 'ner' in the store {store.folder} cannot be read: Permission denied. Files that may be read "
            "were expected. Change their permissions, or put the graft in again."
        )


def refuse(monkeypatch: pytest.MonkeyPatch, deed: str, path: Path) -> None:
    """Let the system refuse to look at a path; its own permissions do not bind every user who runs the tests."""
    allowed: Callable[[Path], Any] = getattr(os, deed)

    def look(asked: Path) -> Any:
        if Path(asked) == path:
            raise PermissionError(13, "Permission denied", str(path))
        return allowed(asked)

    if deed == "lstat":
        monkeypatch.setattr(Path, deed, look)
    else:
        monkeypatch.setattr(os, deed, look)


def test_what_get_gives_may_be_changed_without_changing_the_store(store: Store):
    store.put(MANIFEST, tensors(1.0))
    store.get("ner")[1]["bottleneck.0.down"].zero_()
    assert torch.equal(store.get("ner")[1]["bottleneck.0.down"], torch.ones(2, 3))
