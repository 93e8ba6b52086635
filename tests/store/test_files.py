from __future__ import annotations

import os
from pathlib import Path

import pytest

from polygraft.errors import StoreError
from polygraft.store.files import check_folder, leftover, locked, open_plain, read_plain, write_new


def test_a_small_file_is_read_whole_up_to_its_limit(tmp_path: Path):
    write_new(tmp_path / "x", b"12345")
    assert read_plain(tmp_path / "x", limit=5) == b"12345"
    with pytest.raises(StoreError) as caught:
        read_plain(tmp_path / "x", limit=4)
    assert str(caught.value) == (
        f"{tmp_path / 'x'} has 5 bytes, where at most 4 were expected. It was not written by polygraft. "
        "Remove it, or put the graft in again."
    )


def test_a_link_that_appears_after_the_look_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "x").symlink_to(tmp_path / "secret")
    monkeypatch.setattr(Path, "lstat", Path.stat)
    with pytest.raises(OSError, match="Too many levels of symbolic links"), open_plain(tmp_path / "x"):
        pass


def test_a_pipe_that_appears_after_the_look_does_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    os.mkfifo(tmp_path / "x")
    write_new(tmp_path / "plain", b"")
    look = (tmp_path / "plain").lstat()
    monkeypatch.setattr(Path, "lstat", lambda path: look)
    with pytest.raises(StoreError, match="x is a pipe, socket or device where"), open_plain(tmp_path / "x"):
        pass


def test_a_file_is_never_written_over(tmp_path: Path):
    write_new(tmp_path / "x", b"first")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "x", b"second")
    assert (tmp_path / "x").read_bytes() == b"first"


def test_a_folder_passes_and_what_is_missing_is_left_to_the_caller(tmp_path: Path):
    check_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        check_folder(tmp_path / "missing")


def test_leftovers_have_different_names_that_no_graft_can_have(tmp_path: Path):
    names = {leftover(tmp_path).name for _ in range(50)}
    assert len(names) == 50
    assert all(name.startswith(".part-") for name in names)


def test_the_lock_is_free_again_after_an_error(tmp_path: Path):
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path, seconds=0):
        assert (tmp_path / ".lock").exists()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path):
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="Too many levels of symbolic links"), locked(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()
