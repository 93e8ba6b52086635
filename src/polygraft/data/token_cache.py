"""Encoded text on disk: a file is turned into tokens once, and mapped into memory afterwards."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import secrets
import shutil
import time
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from polygraft.data.encode import EncodedText

FORM = 2
"""Raised when the same key would give other tokens, or other files, than before."""
MAX_BYTES = 4 * 2**30
"""What a cache may hold; what was not used for longest goes first."""
NAMES = ("train", "held_out")
FACTS = "facts.json"
UNFINISHED = ".part-"
_SECONDS_OF_A_DAY = 86_400
_DTYPES = {"ids": "<i4", "starts": "<i8", "goes_on": "|b1"}


@dataclass(frozen=True, kw_only=True)
class CacheKey:
    """All that the tokens of a text file depend on."""

    text: str
    """The sha256 of the file."""
    tokenizer: str
    """The tokenizer's fingerprint."""
    max_length: int
    """The most tokens of a row."""
    max_lines: int | None = None
    """Lines that are read; None reads all."""
    num_held_out: int | None = None
    """Lines that are to be kept apart; None keeps none apart."""

    @property
    def digest(self) -> str:
        """The name of the entry: the key, and how text is read and split nowadays."""
        facts = {
            **dataclasses.asdict(self),
            "form": FORM,
            "normalisation": f"NFC {unicodedata.unidata_version}",
            "tokenizers": version("tokenizers"),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class CachedText:
    """What is kept of one text: its rows, and how many lines they were."""

    encoded: EncodedText
    num_lines: int


class TokenCache:
    """A folder of encoded texts, each under the digest of all that it depends on.

    An entry is written aside and moved into place whole. Its sizes and digests are checked before it is used; a damaged
    one is removed, and made anew by who asked for it. Nothing here stops a training: a folder that cannot be written to
    is told, once, and text is encoded in memory.

    Args:
        folder: Where the entries are; None keeps nothing.
        max_bytes: What all entries may take together. The newest stays in any case.
    """

    def __init__(self, folder: Path | None, *, max_bytes: int = MAX_BYTES) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._is_refused = False

    def find(self, key: CacheKey, *, notify: Callable[[str], None]) -> dict[str, CachedText] | None:
        """Give the texts of an entry, mapped from the disk, or None where there is none.

        Args:
            key: What the tokens depend on.
            notify: Told where an entry was damaged.
        """
        if self.folder is None:
            return None
        entry = self.folder / key.digest
        try:
            content = (entry / FACTS).read_bytes()
        except OSError:
            return None
        try:
            found = _read_entry(entry, content)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = str(error) if isinstance(error, _DamagedError) else "it is not what was written"
            notify(
                f"The tokens kept in {entry} are damaged: {reason}. Expected files as they were written. They are made "
                "anew from the text; nothing need be done."
            )
            shutil.rmtree(entry, ignore_errors=True)
            return None
        with suppress(OSError):
            os.utime(entry / FACTS)
        return found

    def keep(
        self, key: CacheKey, texts: Mapping[str, CachedText], *, notify: Callable[[str], None]
    ) -> Mapping[str, CachedText]:
        """Write an entry and give it back, mapped from the disk; as it was given where it cannot be written.

        Args:
            key: What the tokens depend on.
            texts: What is kept, by the names `train` and `held_out`.
            notify: Told where the folder cannot be written to.
        """
        if self.folder is None:
            return texts
        try:
            self._write(self.folder, key.digest, texts)
        except OSError as error:
            if not self._is_refused:
                notify(
                    f"Tokens cannot be kept in {self.folder}: {error.strerror or error}. Expected a folder that may be "
                    "written to; training goes on without. Name another by POLYGRAFT_CACHE, or set it to 'off'."
                )
            self._is_refused = True
            return texts
        self._trim(self.folder, newest=key.digest)
        return self.find(key, notify=notify) or texts

    def _write(self, folder: Path, digest: str, texts: Mapping[str, CachedText]) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = folder / f"{UNFINISHED}{secrets.token_hex(8)}"
        unfinished.mkdir()
        try:
            facts: dict[str, Any] = {}
            for name in NAMES:
                if name in texts:
                    facts[name] = _write_text(unfinished, name, texts[name])
            _write_file(unfinished / FACTS, json.dumps(facts).encode())
            try:
                unfinished.rename(folder / digest)
            except OSError:
                # Another process was faster with the same entry.
                if not (folder / digest / FACTS).is_file():
                    raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _trim(self, folder: Path, *, newest: str) -> None:
        """Remove what was not used for longest until the rest is small enough, and what a crash left behind."""
        entries: list[tuple[float, int, Path]] = []
        with suppress(OSError):
            for entry in folder.iterdir():
                used = entry.stat().st_mtime
                if entry.name.startswith(UNFINISHED):
                    if used < time.time() - _SECONDS_OF_A_DAY:
                        shutil.rmtree(entry, ignore_errors=True)
                elif (entry / FACTS).is_file() and entry.name != newest:
                    size = sum(file.stat().st_size for file in entry.iterdir())
                    entries.append(((entry / FACTS).stat().st_mtime, size, entry))
            room = self.max_bytes - sum(file.stat().st_size for file in (folder / newest).iterdir())
            for _, size, entry in sorted(entries, reverse=True):
                room -= size
                if room < 0:
                    shutil.rmtree(entry, ignore_errors=True)


class _DamagedError(ValueError):
    """A file of an entry is not what was written; says how."""


def _write_text(folder: Path, name: str, text: CachedText) -> dict[str, Any]:
    """Write the arrays of a text, and give the facts about them."""
    facts: dict[str, Any] = {
        "num_lines": text.num_lines,
        "num_cut_rows": text.encoded.num_cut_rows,
        "num_cut_tokens": text.encoded.num_cut_tokens,
    }
    encoded = text.encoded
    for kind, values in {"ids": encoded.ids, "starts": encoded.starts, "goes_on": encoded.goes_on}.items():
        if values is None:
            continue
        data = np.ascontiguousarray(values, dtype=_DTYPES[kind]).data.cast("B")
        _write_file(folder / f"{name}.{kind}", data)
        facts[kind] = {"num_bytes": data.nbytes, "sha256": hashlib.sha256(data).hexdigest()}
    return facts


def _write_file(path: Path, data: bytes | memoryview) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _read_entry(entry: Path, content: bytes) -> dict[str, CachedText]:
    facts = cast("dict[str, Any]", json.loads(content))
    if not isinstance(facts, dict) or not {"train"} <= set(facts) <= set(NAMES):
        raise _DamagedError(f"{FACTS} names other texts than {' and '.join(NAMES)}")
    return {name: _read_text(entry, name, facts[name]) for name in facts}


def _read_text(entry: Path, name: str, facts: Mapping[str, Any]) -> CachedText:
    found = {
        kind: _map(entry / f"{name}.{kind}", dtype, facts[kind])
        for kind, dtype in _DTYPES.items()
        if kind != "goes_on" or kind in facts
    }
    ids, starts, goes_on = found["ids"], found["starts"], found.get("goes_on")
    if starts[0] != 0 or starts[-1] != len(ids) or (np.diff(starts) < 1).any() or ids.min() < 0:
        raise _DamagedError(f"the rows of {name} do not follow each other")
    if goes_on is not None and (len(goes_on) != len(starts) - 1 or goes_on[0]):
        raise _DamagedError(f"the lines of {name} are not those of its rows")
    return CachedText(
        encoded=EncodedText(
            ids=ids,
            starts=starts,
            num_cut_rows=int(facts["num_cut_rows"]),
            num_cut_tokens=int(facts["num_cut_tokens"]),
            goes_on=goes_on,
        ),
        num_lines=int(facts["num_lines"]),
    )


def _map(path: Path, dtype: str, facts: Mapping[str, Any]) -> NDArray[Any]:
    """Map an array after its size and its digest were checked."""
    size = path.stat().st_size
    if size != facts["num_bytes"] or size == 0:
        raise _DamagedError(f"{path.name} has {size} bytes where {facts['num_bytes']} were written")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != facts["sha256"]:
        raise _DamagedError(f"the sha256 of {path.name} is not what it was")
    return np.memmap(path, dtype=dtype, mode="r").view(np.ndarray)
