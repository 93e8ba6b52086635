"""Sending a graft elsewhere and fetching one: folders, fsspec's addresses, the Hugging Face hub.

An address names the folder that holds one graft's graft.json and graft.safetensors:
`../shared/ner`, `s3://bucket/grafts/ner`, `hf://user/repo`, `hf://user/repo@revision/folder`.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from polygraft.errors import NotInStoreError, StoreError
from polygraft.store.fields import MAX_JSON_BYTES
from polygraft.store.folder_place import FolderPlace
from polygraft.store.fsspec_place import FsspecPlace
from polygraft.store.graft import MANIFEST, TENSORS, read_graft, read_manifest
from polygraft.store.hub_place import HUB, HubApi, HubPlace
from polygraft.store.manifest import Manifest
from polygraft.store.place import Place
from polygraft.store.store import Store

FILE = "file://"
"""What an address of fsspec begins with where it names a folder on this machine."""


def push(
    store: Store,
    name: str,
    *,
    target: str,
    version: int | None = None,
    overwrite: bool = False,
    hub: HubApi | None = None,
) -> str:
    """Send a graft to an address, and give the address back.

    Args:
        store: The store that holds the graft.
        name: The graft.
        target: The address; what is missing of its folders is made.
        version: The version; the latest if none is named.
        overwrite: Whether another graft at the address, whole or damaged, may be replaced. The same one never needs it.
        hub: What talks to the Hugging Face hub; its own library if nothing is given.

    Raises:
        NotInStoreError: The store does not hold the graft.
        StoreError: The graft is damaged; the address holds another or a damaged one, lies in the store, or cannot be
            written.
        MissingExtraError: The address needs a library that is not installed.
    """
    _check_outside(store, target)
    manifest = store.verify(name, version=version)
    place = open_place(target, hub=hub)
    if not overwrite:
        _check_free(place, manifest, address=target)
    place.send(store.folder / name / str(manifest.version))
    return target


def pull(store: Store, source: str, *, name: str | None = None, hub: HubApi | None = None) -> Manifest:
    """Fetch a graft from an address, check all of it, and put it into a store.

    Args:
        store: The store that gets it, as the next version of its name.
        source: The address.
        name: Another name for it; its own if none is given.
        hub: What talks to the Hugging Face hub; its own library if nothing is given.

    Raises:
        NotInStoreError: No graft is at the address.
        StoreError: What is there is damaged or cannot be read.
        MissingExtraError: The address needs a library that is not installed.
    """
    place = open_place(source, hub=hub)
    with tempfile.TemporaryDirectory(prefix="polygraft-") as made:
        folder = Path(made)
        if not _fetch_manifest(place, folder):
            raise NotInStoreError(
                f"{source} holds no {MANIFEST}. The address of a folder with {MANIFEST} and {TENSORS} was "
                "expected. Check the address."
            )
        shown_as = source.rstrip("/")
        found = read_manifest(folder, shown_as=shown_as)
        place.fetch(TENSORS, folder / TENSORS, limit=found.num_bytes)
        manifest, tensors = read_graft(folder, shown_as=shown_as)
    return store.put(replace(manifest, name=name or manifest.name), tensors)


def open_place(address: str, *, hub: HubApi | None = None) -> Place:
    """Give what reads and writes at an address.

    Raises:
        StoreError: The address cannot be understood.
        MissingExtraError: The address needs a library that is not installed.
    """
    if address.startswith(HUB):
        return HubPlace(address, hub=hub)
    if "://" in address:
        return FsspecPlace(address)
    return FolderPlace(Path(address))


def _check_outside(store: Store, target: str) -> None:
    path = target.removeprefix(FILE)
    if "://" in path:
        return
    inner, outer = Path(path).resolve(), store.folder.resolve()
    if inner == outer or outer in inner.parents:
        raise StoreError(
            f"{target} lies in the store {store.folder} itself, which holds its own versions only. An address outside "
            "of it was expected. Choose another address, or rename the graft with `polygraft grafts rename`."
        )


def _check_free(place: Place, manifest: Manifest, *, address: str) -> None:
    """Make sure that no other graft than this very one is at an address."""
    with tempfile.TemporaryDirectory(prefix="polygraft-") as made:
        folder = Path(made)
        if not _fetch_manifest(place, folder):
            return
        try:
            found = read_manifest(folder, shown_as=address.rstrip("/"))
        except StoreError as error:
            error.add_note("(To put one over it, allow it to be overwritten.)")
            raise
    if (found.name, found.sha256) != (manifest.name, manifest.sha256):
        raise StoreError(
            f"{address} holds version {found.version} of the graft '{found.name}', other than version "
            f"{manifest.version} of '{manifest.name}'. An address without a graft was expected. "
            "Choose another address, or allow it to be overwritten."
        )


def _fetch_manifest(place: Place, folder: Path) -> bool:
    return place.fetch(MANIFEST, folder / MANIFEST, limit=MAX_JSON_BYTES)
