from __future__ import annotations

import os
from pathlib import Path

import pytest

from polygraft.data.text import read_text
from polygraft.errors import DataError

FOLDER = Path(os.environ.get("POLYGRAFT_DATA", Path(__file__).parents[3] / "shared" / "data"))


def test_lines_are_stripped_composed_and_never_empty(tmp_path: Path):
    path = tmp_path / "qu.txt"
    path.write_bytes("\ufeff  n\u0303awi \r\n\n\t\nwasi".encode())
    assert read_text(path) == ["\u00f1awi", "wasi"]


def test_a_very_long_line_stays_one_line(tmp_path: Path):
    path = tmp_path / "qu.txt"
    path.write_text("wasi " * 300_000, encoding="utf-8")
    assert [len(line) for line in read_text(path)] == [1_499_999]


@pytest.mark.parametrize("content", [b"", b"\n \r\n\t", b"\xef\xbb\xbf\n"])
def test_a_file_without_text_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "qu.txt"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_text(path)
    assert str(caught.value) == (
        f"{path} has no text. One sentence or paragraph a line was expected. "
        "Check that the file is complete and is the one you meant."
    )


def test_a_nul_character_is_refused(tmp_path: Path):
    path = tmp_path / "qu.txt"
    path.write_bytes(b"wasi\nr\0u\0n\0a\0")
    with pytest.raises(DataError) as caught:
        read_text(path)
    assert str(caught.value) == (
        f"{path}, line 2: the line holds a NUL character ('r\\x00u\\x00n\\x00a\\x00'). Plain text was "
        "expected, one sentence or paragraph a line. Check that the file is not binary or UTF-16."
    )


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"POLYGRAFT_DATA names no folder: {FOLDER} is absent.")
def test_every_text_of_the_data_folder_is_read():
    sizes = {path.stem: len(read_text(path)) for path in sorted((FOLDER / "text").glob("*.txt"))}
    assert sizes == {"en": 46168, "hau": 19472, "qu": 41035, "swa": 17023, "yor": 14775}
