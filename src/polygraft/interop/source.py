"""Where another library's files are: a folder, or a zip of one that is read without being unpacked."""

from __future__ import annotations

import hashlib
import json
import stat
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import cast

from polygraft.errors import DataError, nearest
from polygraft.store.fields import JsonValue

MAX_JSON_BYTES = 1 << 20
MAX_TENSOR_BYTES = 1 << 34
"""Size of the largest file of tensors that is read: 16 GiB, many times that of the largest sparse fine-tuning."""
MAX_RATIO = 1100
"""How many times larger than in its zip a file can be: deflate cannot make more of a byte."""
MAX_ENTRIES = 10_000
ZIP_START = b"PK"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A folder's files by name, read when they are asked for."""

    where: str
    readers: Mapping[str, Callable[[int], bytes]]
    """For each file what reads it; takes the most bytes that are wanted."""
    digests: dict[str, str] = field(default_factory=dict[str, str])
    """The sha256 of each file that was read."""

    def has(self, name: str) -> bool:
        """Say whether there is a file of that name."""
        return name in self.readers

    def read(self, name: str, *, limit: int = MAX_TENSOR_BYTES) -> bytes:
        """Read a file whole.

        Raises:
            DataError: It is not there, larger than `limit`, or damaged.
        """
        if name not in self.readers:
            listed = ", ".join(sorted(self.readers)[:12]) or "nothing"
            raise DataError(
                f"{self.where} has no file {name}: there is {listed}. Expected the folder that the other library "
                f"wrote.{nearest(name, self.readers)} Name that folder, or a zip of it."
            )
        data = self.readers[name](limit + 1)
        if len(data) > limit:
            raise DataError(
                f"{self.where}/{name} has more than {limit} bytes. Expected fewer. It was not written by the library "
                "that it is said to be of: get it again from where it was made."
            )
        self.digests[name] = hashlib.sha256(data).hexdigest()
        return data

    def read_json(self, name: str) -> dict[str, JsonValue]:
        """Read a file that holds one JSON object.

        Raises:
            DataError: It is not there, or is no such JSON.
        """
        data = self.read(name, limit=MAX_JSON_BYTES)
        try:
            found = json.loads(data, object_pairs_hook=_make_unique, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{self.where}/{name} is no JSON: {str(error) or 'it is nested too deeply'}. Expected one object with "
                "keys of the other library. Get the file again from where it was made."
            ) from None
        if not isinstance(found, dict):
            raise DataError(
                f"{self.where}/{name} holds {type(found).__name__}. Expected one JSON object with keys of the other "
                "library. Get the file again from where it was made."
            )
        return cast("dict[str, JsonValue]", found)


def open_source(path: Path) -> Source:
    """Open a folder, or a zip that holds the files of one at its top or in one folder.

    A zip is read in memory. Names that would lead out of it are refused, although nothing is unpacked.

    Raises:
        DataError: There is nothing, or a zip that cannot be trusted.
    """
    if path.is_dir():
        files = [entry for entry in path.iterdir() if entry.is_file()]
        folders = sorted(entry.name for entry in path.iterdir() if entry.is_dir())
        if folders and not files:
            raise DataError(
                f"{path} has no files, only the folders {', '.join(folders[:8])}. Expected the folder that the other "
                "library wrote. Name one of them."
            )
        return Source(where=str(path), readers={entry.name: _make_file_reader(entry) for entry in files})
    if path.is_file() and zipfile.is_zipfile(path):
        return _open_zip(path)
    what = "is neither a folder nor a zip" if path.exists() else "is not there"
    if path.is_file() and _make_file_reader(path)(len(ZIP_START)) == ZIP_START:
        what = "begins as a zip and has no list of what is in it, so it was cut short"
    raise DataError(
        f"{path} {what}. Expected the folder that the other library wrote, or a zip of it. Check the path."
    )


def _make_file_reader(path: Path) -> Callable[[int], bytes]:
    def read(limit: int) -> bytes:
        with path.open("rb") as file:
            return file.read(limit)

    return read


def _open_zip(path: Path) -> Source:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise _refuse_zip(path, f"it is damaged ({error})") from None
    if len(infos) > MAX_ENTRIES:
        raise _refuse_zip(path, f"it has {len(infos)} entries, and at most {MAX_ENTRIES} are read")
    for info in infos:
        _check_entry(path, info)
    files = [info for info in infos if not info.is_dir()]
    folder = _find_folder(path, [info.filename for info in files])
    readers: dict[str, Callable[[int], bytes]] = {}
    for info in files:
        name = info.filename.removeprefix(folder)
        if name in readers:
            raise _refuse_zip(path, f"the entry {name!r} is in it twice")
        readers[name] = _make_entry_reader(path, info)
    return Source(where=str(path), readers=readers)


def _check_entry(path: Path, info: zipfile.ZipInfo) -> None:
    name = info.filename
    is_outside = name.startswith("/") or "\\" in name or ":" in name or ".." in PurePosixPath(name).parts
    if is_outside:
        raise _refuse_zip(path, f"the entry {name[:200]!r} leads out of it")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise _refuse_zip(path, f"the entry {name[:200]!r} is a symbolic link")
    if info.flag_bits & 1:
        raise _refuse_zip(path, f"the entry {name[:200]!r} is encrypted")
    if info.file_size > MAX_RATIO * max(1, info.compress_size):
        raise _refuse_zip(
            path, f"the entry {name[:200]!r} has {info.compress_size} bytes and claims {info.file_size}"
        )


def _find_folder(path: Path, names: Sequence[str]) -> str:
    """Give the one folder that all files are in, with a slash, or nothing where they are at the top."""
    tops = {name.partition("/")[0] for name in names if "/" in name}
    if not tops or any("/" not in name for name in names):
        return ""
    if len(tops) > 1:
        raise _refuse_zip(path, f"it holds the folders {', '.join(sorted(tops)[:8])}")
    return f"{tops.pop()}/"


def _make_entry_reader(path: Path, info: zipfile.ZipInfo) -> Callable[[int], bytes]:
    def read(limit: int) -> bytes:
        try:
            with zipfile.ZipFile(path) as archive, archive.open(info) as file:
                return file.read(limit)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
            raise _refuse_zip(path, f"the entry {info.filename!r} is damaged ({error})") from None

    return read


def _refuse_zip(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} cannot be read: {reason}. Expected a zip of the one folder that the other library wrote, with its "
        "files at the top or in one folder. Get it again from where it was made."
    )


def _make_unique(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key '{key[:80]}' stands twice in one object")
        found[key] = value
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"it holds {name}, which is not a number")
