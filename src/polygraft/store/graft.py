"""One graft's folder: graft.json beside graft.safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from polygraft.errors import StoreError
from polygraft.store.fields import MAX_JSON_BYTES
from polygraft.store.files import check_folder, flush, open_plain, read_plain, sync_folder, write_new
from polygraft.store.manifest import Manifest, manifest_from_json, manifest_to_json
from polygraft.store.tensors import check_tensors, count_parameters, describe, read_tensors, write_tensors

MANIFEST = "graft.json"
TENSORS = "graft.safetensors"


def write_graft(folder: Path, manifest: Manifest, tensors: Mapping[str, Tensor]) -> Manifest:
    """Write a graft into a folder that is not there yet, and wait until the disk has it.

    The manifest comes back as a reader will see it, with what only the writer knows: the tensors'
    shapes and dtypes, the counts and the digest.

    Raises:
        StoreError: The manifest or the tensors cannot be stored.
    """
    where = f"Graft '{manifest.name}'"
    check_tensors(tensors, where=where)
    check_manifest(manifest, where=where)
    folder.mkdir()
    with (folder / TENSORS).open("xb") as file:
        written = write_tensors(tensors, file)
        flush(file)
    full = check_manifest(
        replace(
            manifest,
            tensors=describe(tensors),
            num_parameters=count_parameters(tensors),
            num_bytes=written.num_bytes,
            sha256=written.sha256,
        ),
        where=where,
    )
    write_manifest(folder, full)
    return full


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into a graft's folder that has none yet."""
    data = manifest_to_json(manifest).encode()
    write_new(folder / MANIFEST, data)
    sync_folder(folder)


def check_manifest(manifest: Manifest, *, where: str) -> Manifest:
    """Give a manifest as it will be read back.

    Raises:
        StoreError: No reader would accept it.
    """
    return manifest_from_json(manifest_to_json(manifest), where=where)


def read_manifest(folder: Path, *, shown_as: str | None = None) -> Manifest:
    """Read the manifest of a graft's folder.

    Args:
        folder: The folder.
        shown_as: What the messages call it, if not its path.

    Raises:
        StoreError: It is not there, not a plain file, or not what the schema says.
    """
    check_folder(folder)
    where = f"{shown_as or folder}/{MANIFEST}"
    try:
        data = read_plain(folder / MANIFEST, limit=MAX_JSON_BYTES)
    except FileNotFoundError:
        raise missing(where) from None
    manifest = manifest_from_json(data, where=where)
    if not manifest.sha256:
        raise StoreError(
            f"{where} gives no sha256 for {TENSORS}, so nothing can vouch for it. "
            "A digest of 64 hexadecimal digits was expected. Put the graft in again."
        )
    return manifest


def read_graft(folder: Path, *, shown_as: str | None = None) -> tuple[Manifest, dict[str, Tensor]]:
    """Read a graft's folder, everything checked.

    Args:
        folder: The folder.
        shown_as: What the messages call it, if not its path.

    Raises:
        StoreError: Anything is not as the manifest says.
    """
    manifest = read_manifest(folder, shown_as=shown_as)
    where = f"{shown_as or folder}/{TENSORS}"
    try:
        with open_plain(folder / TENSORS) as file:
            tensors = read_tensors(
                file,
                where=where,
                expected=manifest.tensors,
                num_bytes=manifest.num_bytes,
                sha256=manifest.sha256,
            )
    except FileNotFoundError:
        raise missing(where) from None
    if count_parameters(tensors) != manifest.num_parameters:
        raise StoreError(
            f"{where} holds {count_parameters(tensors)} parameters, its manifest says "
            f"{manifest.num_parameters}. The manifest was changed after it was written. "
            "Put the graft in again."
        )
    return manifest, tensors


def missing(where: str) -> StoreError:
    """Make the error for a graft's file that is not there."""
    return StoreError(
        f"{where} is not there. A graft is the files {MANIFEST} and {TENSORS} side by side. "
        "Put the graft in again."
    )
