"""What an attack is, and the good graft that each one spoils."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from polygraft.store.manifest import BaseRecord, Manifest, PartRecord
from polygraft.store.store import Store

JSON = "{folder}/graft.json"
TENSORS = "{folder}/graft.safetensors"


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One way to spoil a graft, and what the store says of it."""

    spoil: Callable[[Path], object]
    """Changes the graft's version folder."""
    says: str
    """The whole message; `{folder}` stands for the version folder."""


def not_json(reason: str, *, file: str = JSON) -> str:
    """Give the sentences for bytes that are not the JSON of a manifest or header."""
    return (
        f"{file} is not the JSON that polygraft writes: {reason}. "
        "An object with unique keys, finite numbers and plain text was expected. Put the graft in again."
    )


def wrong(found: str, expected: str, *, file: str = JSON) -> str:
    """Give the sentences for a value of the wrong kind."""
    return (
        f"{file}: {found} where {expected} was expected. "
        "The file was changed after it was written. Put the graft in again."
    )


def mismatch(reason: str) -> str:
    """Give the sentences for tensors that are not those of the manifest."""
    return (
        f"{TENSORS} does not match its manifest: {reason}. "
        "The file was changed or cut short after it was written. Put the graft in again."
    )


def not_safetensors(reason: str) -> str:
    """Give the sentences for bytes that are not a file of tensors."""
    return f"{TENSORS} is not the safetensors file that polygraft writes: {reason}. Put the graft in again."


def not_vouched(found: str, said: str) -> str:
    """Give the sentences for a manifest that is not the one its digest was taken of."""
    return (
        f"{JSON} does not match its own digest: sha256 over its other keys is {found}, the key 'digest' says "
        f"{said}. The file was changed after it was written. Put the graft in again."
    )


def not_plain(file: str, kind: str) -> str:
    """Give the sentences for something other than a file."""
    return (
        f"{file} is {kind} where a plain file was expected. "
        "A store follows no links. Remove it, or put the graft in again."
    )


def make_store(folder: Path) -> Store:
    """Make a store with one good graft, 'ner', of one version."""
    store = Store(folder)
    manifest = Manifest(
        name="ner",
        parts=(PartRecord(kind="bottleneck", options={"reduction": 16}),),
        base=BaseRecord(name="tiny", fingerprint="9f31c2", revision=None),
        tokenizer="77ab04",
        created="2026-01-31T12:00:00+00:00",
        scores={"f1": 0.5},
    )
    tensors = {
        "down": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "up": torch.ones(2, 3),
        "wide": torch.zeros(3, 2),
        "keep": torch.tensor([True, False]),
    }
    store.put(manifest, tensors)
    return store


def alter(folder: Path, **changes: object) -> None:
    """Set keys of graft.json, with the digest that it had before."""
    path = folder / "graft.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


def edit(folder: Path, **changes: object) -> None:
    """Set keys of graft.json, with a digest that vouches for them."""
    alter(folder, **changes)
    raw = json.loads((folder / "graft.json").read_text("utf-8"))
    alter(folder, digest=digest_of(raw))


def digest_of(raw: Mapping[str, object]) -> str:
    """Compute what vouches for a manifest: sha256 over its shortest JSON, keys sorted, without the digest."""
    rest = {key: value for key, value in raw.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def forge(folder: Path, header: object, data: bytes) -> None:
    """Write graft.safetensors from a header and data, with a manifest that vouches for the bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    vouch(folder, len(text).to_bytes(8, "little") + text + data)


def vouch(folder: Path, content: bytes) -> None:
    """Write any bytes as graft.safetensors, with a manifest that vouches for them."""
    (folder / "graft.safetensors").write_bytes(content)
    edit(folder, num_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def read_header(folder: Path) -> tuple[dict[str, dict[str, object]], bytes]:
    """Give the header and the data of graft.safetensors."""
    content = (folder / "graft.safetensors").read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def reforge(folder: Path, **changes: Mapping[str, object]) -> None:
    """Change entries of the header and keep the data, with a manifest that vouches for the bytes."""
    header, data = read_header(folder)
    for name, change in changes.items():
        header[name] = {**header[name], **change}
    forge(folder, header, data)
