"""Files and folders that survive a crash, and that no link leads astray."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from polygraft.errors import PolygraftError, StoreError

LEFTOVER = ".part-"
"""What the names of unfinished files and folders in a store begin with."""
LOCK = ".lock"
LOCK_SECONDS = 600.0
_LOCK_PAUSE = 0.02

if sys.platform == "win32":
    import msvcrt

    def _open(path: Path) -> int:
        return os.open(path, os.O_RDONLY | os.O_BINARY | os.O_NOINHERIT)

    def _try_lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _open(path: Path) -> int:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)

    def _try_lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def check_folder(path: Path) -> None:
    """Make sure that a path is a folder and not a link to one.

    Raises:
        FileNotFoundError: Nothing is there.
        StoreError: Something else is there.
    """
    mode = path.lstat().st_mode
    if not stat.S_ISDIR(mode):
        raise StoreError(
            f"{path} is {_kind(mode)} where a folder was expected. "
            "A store follows no links and holds folders of grafts only. Remove it, or put the graft in again."
        )


@contextmanager
def open_plain(path: Path) -> Generator[BufferedReader]:
    """Open a file for reading if it is a plain file, following no link and waiting for no pipe.

    Raises:
        FileNotFoundError: Nothing is there.
        StoreError: Something other than a plain file is there.
    """
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode):
        raise _not_plain(path, mode)
    with os.fdopen(_open(path), "rb") as file:
        opened = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(opened):
            raise _not_plain(path, opened)
        yield file


def read_plain(path: Path, *, limit: int) -> bytes:
    """Read a small plain file whole.

    Args:
        path: The file.
        limit: The most bytes that are read.

    Raises:
        FileNotFoundError: Nothing is there.
        StoreError: It is no plain file, or larger than the limit.
    """
    with open_plain(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise StoreError(
            f"{path} has {path.lstat().st_size} bytes, where at most {limit} were expected. "
            "It was not written by polygraft. Remove it, or put the graft in again."
        )
    return data


def write_new(path: Path, data: bytes) -> None:
    """Write a file that was not there, and wait until the disk has it."""
    with path.open("xb") as file:
        file.write(data)
        flush(file)


def flush(file: BinaryIO) -> None:
    """Wait until the disk has what was written to a file."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the disk has a folder's list of names."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def leftover(folder: Path) -> Path:
    """Give a fresh path, inside a folder, for what is not finished yet."""
    return folder / f"{LEFTOVER}{secrets.token_hex(8)}"


@contextmanager
def locked(folder: Path, *, seconds: float = LOCK_SECONDS) -> Generator[None]:
    """Hold a folder's lock, which the system lets go if the process dies.

    Args:
        folder: The folder; its file `.lock` stays behind.
        seconds: How long to wait for another process.

    Raises:
        StoreError: Another process held the lock all that time.
    """
    until = time.monotonic() + seconds
    flags = os.O_RDWR | os.O_CREAT
    if sys.platform != "win32":
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(folder / LOCK, flags, 0o666)
    try:
        while True:
            try:
                _try_lock(descriptor)
                break
            except (BlockingIOError, PermissionError):
                if time.monotonic() >= until:
                    raise StoreError(
                        f"Another process has been writing to the store {folder} for {seconds:g} seconds. "
                        "One process at a time may change a store. Wait for it or end it, then try again."
                    ) from None
                time.sleep(_LOCK_PAUSE)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def locked_alone(folder: Path, *, refusal: PolygraftError) -> Generator[None]:
    """Hold a folder's lock, or refuse at once where another process holds it.

    Args:
        folder: The folder.
        refusal: What is raised then.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder, seconds=0))
        except StoreError:
            raise refusal from None
        yield


def _not_plain(path: Path, mode: int) -> StoreError:
    return StoreError(
        f"{path} is {_kind(mode)} where a plain file was expected. "
        "A store follows no links. Remove it, or put the graft in again."
    )


def _kind(mode: int) -> str:
    kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", stat.S_IFREG: "a plain file"}
    return kinds.get(stat.S_IFMT(mode), "a pipe, socket or device")


def replace_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, over what was there before."""
    unfinished = leftover(path.parent)
    write_new(unfinished, data)
    unfinished.replace(path)
    sync_folder(path.parent)


def list_folders(path: Path) -> list[str]:
    """Give the names of the folders in a folder; links to folders are left out."""
    return [entry.name for entry in list_entries(path) if entry.is_dir(follow_symlinks=False)]


def list_entries(path: Path) -> list[os.DirEntry[str]]:
    """Give what is in a folder; nothing if it is no folder.

    Raises:
        StoreError: It may not be read.
    """
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StoreError(
            f"The folder {path} cannot be read: {error.strerror or error}. "
            "A folder that may be read was expected. Change its permissions or choose another store."
        ) from error


def link_file(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system cannot."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target, follow_symlinks=False)


def delete(path: Path) -> None:
    """Remove a file or a folder with all that is in it; nothing happens if it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
