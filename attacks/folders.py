"""Attacks on what is around a graft's files: links, pipes, stray things."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from attacks.attack import JSON, TENSORS, Attack, not_plain


def _link(path: Path) -> None:
    aside = path.with_name(f"aside-{path.name}")
    path.rename(aside)
    path.symlink_to(aside)


def _into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _into_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _into_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("not a folder", "utf-8")


def _point(folder: Path, content: bytes) -> None:
    (folder.parent / "latest").write_bytes(content)


ATTACKS = {
    "a link for the manifest": Attack(
        spoil=lambda folder: _link(folder / "graft.json"), says=not_plain(JSON, "a symbolic link")
    ),
    "a link for the tensors": Attack(
        spoil=lambda folder: _link(folder / "graft.safetensors"), says=not_plain(TENSORS, "a symbolic link")
    ),
    "a link for the version": Attack(
        spoil=_link,
        says=(
            "{folder} is a symbolic link where a folder was expected. A store follows no links and holds "
            "folders of grafts only. Remove it, or put the graft in again."
        ),
    ),
    "a link for the graft": Attack(
        spoil=lambda folder: _link(folder.parent),
        says=(
            "{graft} is a symbolic link where a folder was expected. A store follows no links and holds "
            "folders of grafts only. Remove it, or put the graft in again."
        ),
    ),
    "a link for the pointer": Attack(
        spoil=lambda folder: _link(folder.parent / "latest"),
        says=not_plain("{graft}/latest", "a symbolic link"),
    ),
    "a link that leads nowhere": Attack(
        spoil=lambda folder: (
            (folder / "graft.json").unlink(),
            (folder / "graft.json").symlink_to("/no/such/file"),
        ),
        says=not_plain(JSON, "a symbolic link"),
    ),
    "a folder for the manifest": Attack(
        spoil=lambda folder: _into_folder(folder / "graft.json"), says=not_plain(JSON, "a folder")
    ),
    "a pipe for the manifest": Attack(
        spoil=lambda folder: _into_pipe(folder / "graft.json"),
        says=not_plain(JSON, "a pipe, socket or device"),
    ),
    "a pipe for the tensors": Attack(
        spoil=lambda folder: _into_pipe(folder / "graft.safetensors"),
        says=not_plain(TENSORS, "a pipe, socket or device"),
    ),
    "a file for the graft": Attack(
        spoil=lambda folder: _into_file(folder.parent),
        says=(
            "{graft} is a plain file where a folder was expected. A store follows no links and holds "
            "folders of grafts only. Remove it, or put the graft in again."
        ),
    ),
    "no manifest": Attack(
        spoil=lambda folder: (folder / "graft.json").unlink(),
        says=(
            "{folder}/graft.json is not there. A graft is the files graft.json and graft.safetensors side "
            "by side. Put the graft in again."
        ),
    ),
    "no tensors": Attack(
        spoil=lambda folder: (folder / "graft.safetensors").unlink(),
        says=(
            "{folder}/graft.safetensors is not there. A graft is the files graft.json and graft.safetensors "
            "side by side. Put the graft in again."
        ),
    ),
    "a pointer that climbs out": Attack(
        spoil=lambda folder: _point(folder, b"../../secret"),
        says=(
            "{graft}/latest holds '../../secret', where one of the versions 1 was expected. The file was "
            "changed after it was written. Ask for a version by its number, or remove the file to use the "
            "newest."
        ),
    ),
    "a pointer to no version": Attack(
        spoil=lambda folder: _point(folder, b"9\n"),
        says=(
            "{graft}/latest holds '9', where one of the versions 1 was expected. The file was changed after "
            "it was written. Ask for a version by its number, or remove the file to use the newest."
        ),
    ),
    "a pointer in other digits": Attack(
        spoil=lambda folder: _point(folder, "١".encode()),
        says=(
            "{graft}/latest holds '��', where one of the versions 1 was expected. The file was changed "
            "after it was written. Ask for a version by its number, or remove the file to use the newest."
        ),
    ),
    "a pointer of a megabyte": Attack(
        spoil=lambda folder: _point(folder, b"1" * 1_000_000),
        says=(
            "{graft}/latest has 1000000 bytes, where at most 32 were expected. It was not written by "
            "polygraft. Remove it, or put the graft in again."
        ),
    ),
}
