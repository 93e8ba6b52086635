from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pytest
from attacks.attack import edit
from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import RepositoryNotFoundError
from tests.store.made import MANIFEST, manifest, tensors

from polygraft.errors import MissingExtraError, NotInStoreError, StoreError
from polygraft.store.remote import pull, push
from polygraft.store.store import Store


@dataclass
class HubFileDouble:
    path: str
    size: int


class NoRepositoryError(RepositoryNotFoundError):
    """The hub's answer for a repository that is not there, without the answer's bytes."""

    def __init__(self) -> None:
        OSError.__init__(self, "404")


class HubDouble:
    """A hub whose repositories are folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.deeds: list[str] = []

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        assert private
        (self.root / repo_id).mkdir(parents=True, exist_ok=exist_ok)
        self.deeds.append(f"create {repo_id}")

    def create_commit(
        self,
        repo_id: str,
        operations: Sequence[CommitOperationAdd],
        *,
        commit_message: str,
        revision: str | None,
    ) -> None:
        for operation in operations:
            target = self.root / repo_id / operation.path_in_repo
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(operation.path_or_fileobj), target)
        self.deeds.append(f"{commit_message} at {revision}")

    def get_paths_info(self, repo_id: str, paths: list[str], *, revision: str | None) -> list[HubFileDouble]:
        if not (self.root / repo_id).is_dir():
            raise NoRepositoryError
        found = [(path, self.root / repo_id / path) for path in paths]
        return [HubFileDouble(name, path.stat().st_size) for name, path in found if path.is_file()]

    def hf_hub_download(self, repo_id: str, filename: str, *, revision: str | None) -> str:
        self.deeds.append(f"download {filename} at {revision}")
        return str(self.root / repo_id / filename)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    store.put(MANIFEST, tensors(1.0))
    return store


@pytest.fixture(autouse=True)
def _empty_memory() -> Iterator[None]:
    yield
    fsspec.filesystem("memory").store.clear()


@pytest.mark.parametrize("where", ["folder", "memory", "file", "hub"])
def test_what_is_pushed_is_pulled_with_the_same_digest(where: str, store: Store, tmp_path: Path):
    addresses = {
        "folder": str(tmp_path / "shared" / "ner"),
        "memory": "memory://shared/ner",
        "file": f"file://{tmp_path}/shared/ner",
        "hub": "hf://user/grafts/ner",
    }
    hub, other = HubDouble(tmp_path / "hub"), Store(tmp_path / "other")
    assert push(store, "ner", target=addresses[where], hub=hub) == addresses[where]
    pulled = pull(other, addresses[where], hub=hub)
    assert pulled == store.manifest("ner")
    assert other.get("ner")[1]["bottleneck.0.down"].tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize("inside", ["", "/ner/1", "/ner/../qu/1", "/deep/er"])
@pytest.mark.parametrize("protocol", ["", "file://"])
def test_a_push_into_the_store_itself_is_refused(inside: str, protocol: str, store: Store):
    target, before = f"{protocol}{store.folder}{inside}", sorted(store.folder.rglob("*"))
    with pytest.raises(StoreError) as caught:
        push(store, "ner", target=target, overwrite=True)
    assert str(caught.value) == (
        f"{target} lies in the store {store.folder} itself, which holds its own versions only. An address outside of "
        "it was expected. Choose another address, or rename the graft with `polygraft grafts rename`."
    )
    assert sorted(store.folder.rglob("*")) == before


def test_a_killed_push_over_another_graft_leaves_no_manifest_of_the_old_one(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class KilledError(BaseException):
        pass

    def die(descriptor: int) -> None:
        if (tmp_path / "x" / "graft.safetensors").read_bytes() != old:
            raise KilledError

    push(store, "ner", target=str(tmp_path / "x"))
    old = (tmp_path / "x" / "graft.safetensors").read_bytes()
    store.put(MANIFEST, tensors(2.0))
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(os, "fsync", die)
        push(store, "ner", target=str(tmp_path / "x"), overwrite=True)
    with pytest.raises(NotInStoreError, match=r"x holds no graft\.json\."):
        pull(Store(tmp_path / "other"), str(tmp_path / "x"))
    push(store, "ner", target=str(tmp_path / "x"))
    assert pull(Store(tmp_path / "other"), str(tmp_path / "x")).sha256 == store.manifest("ner").sha256


def test_a_pulled_graft_is_the_next_version_of_the_wanted_name(store: Store, tmp_path: Path):
    push(store, "ner", target=str(tmp_path / "x"))
    assert pull(store, str(tmp_path / "x")).version == 2
    assert pull(store, str(tmp_path / "x"), name="other").version == 1
    assert store.names() == ["ner", "other"]


@pytest.mark.parametrize("address", ["{tmp}/x", "memory://x", "hf://user/x"])
def test_another_graft_at_the_address_is_kept_unless_it_may_go(address: str, store: Store, tmp_path: Path):
    target, hub = address.format(tmp=tmp_path), HubDouble(tmp_path / "hub")
    push(store, "ner", target=target, hub=hub)
    push(store, "ner", target=target, hub=hub)
    store.put(MANIFEST, tensors(2.0))
    with pytest.raises(StoreError) as caught:
        push(store, "ner", target=target, hub=hub)
    assert str(caught.value) == (
        f"{target} holds version 1 of the graft 'ner', other than version 2 of 'ner'. "
        "An address without a graft was expected. Choose another address, or allow it to be overwritten."
    )
    push(store, "ner", target=target, overwrite=True, hub=hub)
    assert pull(Store(tmp_path / "other"), target, hub=hub).sha256 == store.manifest("ner").sha256


@pytest.mark.parametrize("address", ["{tmp}/x", "file://{tmp}/x", "hf://user/x"])
def test_a_damaged_graft_at_the_address_is_told_and_may_go(address: str, store: Store, tmp_path: Path):
    target, hub = address.format(tmp=tmp_path), HubDouble(tmp_path / "hub")
    push(store, "ner", target=target, hub=hub)
    path = (tmp_path / "hub/user/x" if target.startswith("hf:") else tmp_path / "x") / "graft.json"
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(StoreError) as caught:
        push(store, "ner", target=target, hub=hub)
    assert str(caught.value) == (
        f"{target}/graft.json is not the JSON that polygraft writes: it holds a list where an object was expected. An "
        "object with unique keys, finite numbers and plain text was expected. Put the graft in again. (To put one "
        "over it, allow it to be overwritten.)"
    )
    assert path.read_text(encoding="utf-8") == "[]"
    push(store, "ner", target=target, overwrite=True, hub=hub)
    assert pull(Store(tmp_path / "other"), target, hub=hub).sha256 == store.manifest("ner").sha256


def test_a_manifest_that_is_too_large_or_a_link_may_go(store: Store, tmp_path: Path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "graft.json").symlink_to(tmp_path / "aside")
    (tmp_path / "y").mkdir()
    with (tmp_path / "y" / "graft.json").open("wb") as file:
        file.truncate(1 << 25)
    for target in (str(tmp_path / "x"), str(tmp_path / "y")):
        with pytest.raises(StoreError, match=r"is a symbolic link where|has more than 16777216 bytes"):
            push(store, "ner", target=target)
        push(store, "ner", target=target, overwrite=True)
        assert pull(Store(tmp_path / "other"), target).sha256 == store.manifest("ner").sha256
    assert not (tmp_path / "aside").exists()


@pytest.mark.parametrize("address", ["{tmp}/none", "memory://none", "hf://user/none", "{tmp}/store/.lock"])
def test_an_address_without_a_graft_gets_its_sentence(address: str, store: Store, tmp_path: Path):
    source = address.format(tmp=tmp_path)
    with pytest.raises(NotInStoreError) as caught:
        pull(store, source, hub=HubDouble(tmp_path / "hub"))
    assert str(caught.value) == (
        f"{source} holds no graft.json. The address of a folder with graft.json and graft.safetensors was "
        "expected. Check the address."
    )


def test_a_graft_that_was_changed_on_the_way_is_not_taken(store: Store, tmp_path: Path):
    push(store, "ner", target=str(tmp_path / "x"))
    path = tmp_path / "x" / "graft.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(StoreError, match=f"^{path} does not match its manifest: sha256 is "):
        pull(Store(tmp_path / "other"), str(tmp_path / "x"))
    assert Store(tmp_path / "other").names() == []


@pytest.mark.parametrize("address", ["{tmp}/x", "file://{tmp}/x"])
def test_no_more_than_the_manifest_says_is_fetched(address: str, store: Store, tmp_path: Path):
    source = address.format(tmp=tmp_path)
    push(store, "ner", target=source)
    with (tmp_path / "x" / "graft.safetensors").open("ab") as file:
        file.truncate(1 << 40)
    size = store.manifest("ner").num_bytes
    with pytest.raises(StoreError) as caught:
        pull(store, source)
    assert str(caught.value) == (
        f"{source}/graft.safetensors has more than {size} bytes, the most that were expected there. "
        "The file was changed, or polygraft did not write it. Push the graft again, over what is there."
    )


def test_a_large_file_on_the_hub_is_not_downloaded(store: Store, tmp_path: Path):
    hub = HubDouble(tmp_path / "hub")
    push(store, "ner", target="hf://user/ner", hub=hub)
    with (tmp_path / "hub/user/ner/graft.json").open("ab") as file:
        file.truncate(1 << 40)
    hub.deeds.clear()
    with pytest.raises(StoreError, match=r"^hf://user/ner/graft\.json has more than 16777216 bytes"):
        pull(store, "hf://user/ner", hub=hub)
    assert hub.deeds == []


def test_a_push_to_the_hub_is_one_commit_at_the_wanted_revision(store: Store, tmp_path: Path):
    hub = HubDouble(tmp_path / "hub")
    push(store, "ner", target="hf://user/grafts@v2/task/ner", hub=hub)
    assert hub.deeds == ["create user/grafts", "Add the graft ner, version 1 at v2"]
    assert sorted(path.name for path in (tmp_path / "hub/user/grafts/task/ner").iterdir()) == [
        "graft.json",
        "graft.safetensors",
    ]


@pytest.mark.parametrize(
    "address", ["hf://", "hf://user", "hf://user/../x", "hf://user/x/../y", "hf://user/x@", "hf://user/x y"]
)
def test_a_bad_hub_address_gets_its_sentence(address: str, store: Store):
    with pytest.raises(StoreError) as caught:
        pull(store, address)
    assert str(caught.value) == (
        f"'{address}' is no address on the Hugging Face hub. One like hf://user/repo, hf://user/repo/folder "
        "or hf://user/repo@revision was expected. Write it like that."
    )


def test_a_hub_that_cannot_be_reached_gets_a_sentence(store: Store, tmp_path: Path):
    class Unreachable(HubDouble):
        def get_paths_info(
            self, repo_id: str, paths: list[str], *, revision: str | None
        ) -> list[HubFileDouble]:
            raise ConnectionError("Name or service not known")

    with pytest.raises(StoreError) as caught:
        pull(store, "hf://user/ner", hub=Unreachable(tmp_path))
    assert str(caught.value) == (
        "hf://user/ner cannot be read: Name or service not known. An address that this machine may reach was "
        "expected. Check the address, the network and your permissions, then try again."
    )


def test_without_fsspec_its_addresses_name_the_extra(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingExtraError) as caught:
        push(store, "ner", target="s3://bucket/ner")
    assert str(caught.value) == (
        "The address 's3://bucket/ner' needs fsspec, which is not installed. "
        "Folders and hf:// addresses work without it. Run `pip install 'polygraft[remote]'`."
    )


def test_without_a_protocols_library_the_sentence_names_it(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MissingExtraError) as caught:
        pull(store, "gs://bucket/ner")
    assert str(caught.value).startswith(
        "The address 'gs://bucket/ner' needs a library that is not installed: "
    )
    assert str(caught.value).endswith("fsspec has one for each protocol. Install the one for gs://.")


def test_an_unknown_protocol_gets_a_sentence(store: Store):
    with pytest.raises(StoreError, match=r"^nowhere://x cannot be opened: Protocol not known: nowhere\. An"):
        pull(store, "nowhere://x")


def test_a_link_in_a_folder_is_not_followed(store: Store, tmp_path: Path):
    push(store, "ner", target=str(tmp_path / "x"))
    (tmp_path / "x" / "graft.json").rename(tmp_path / "aside")
    (tmp_path / "x" / "graft.json").symlink_to(tmp_path / "aside")
    with pytest.raises(StoreError, match=r"graft\.json is a symbolic link where a plain file was expected"):
        pull(store, str(tmp_path / "x"))


def test_a_manifest_from_elsewhere_cannot_choose_where_it_lands(store: Store, tmp_path: Path):
    push(store, "ner", target=str(tmp_path / "x"))
    edit(tmp_path / "x", name="../evil")
    with pytest.raises(StoreError, match=r"'\.\./evil' cannot be a graft's name"):
        pull(store, str(tmp_path / "x"))
    with pytest.raises(StoreError, match=r"'\.\./evil' cannot be a graft's name"):
        pull(store, str(tmp_path / "x"), name="../evil")


def test_a_damaged_graft_is_not_pushed(store: Store, tmp_path: Path):
    store.put(manifest(name="en"), tensors())
    (store.folder / "en/1/graft.safetensors").write_bytes(b"")
    with pytest.raises(StoreError, match="does not match its manifest: it has 0 bytes"):
        push(store, "en", target=str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_fsspec_and_the_hub_are_imported_only_when_used():
    script = (
        "import sys, polygraft.store.remote\n"
        "assert 'huggingface_hub' not in sys.modules, 'huggingface_hub'\n"
        "assert 'fsspec' not in sys.modules, 'fsspec'\n"
    )
    source = Path(__file__).parents[2] / "src"
    done = subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": str(source)}, check=False)
    assert done.returncode == 0
