from __future__ import annotations

from pathlib import Path

import pytest

from polygraft.cli.lines import read_file_lines, read_lines_of
from polygraft.errors import DataError


def test_line_ends_and_a_byte_order_mark_are_dropped():
    source = ["\ufeffana\r\n".encode(), b"\n", b"lima"]
    assert list(read_lines_of(source, name="standard input")) == ["ana", "", "lima"]


def test_lines_come_before_the_input_ends():
    def endless():
        while True:
            yield b"ana\n"

    lines = read_lines_of(endless(), name="standard input")
    assert [next(lines) for _ in range(3)] == ["ana"] * 3


def test_a_file_is_read_line_by_line(tmp_path: Path):
    path = tmp_path / "text.txt"
    path.write_text("ana\nñuqa\n", encoding="utf-8")
    assert list(read_file_lines(path)) == ["ana", "ñuqa"]


def test_what_cannot_be_opened_has_the_readers_sentence(tmp_path: Path):
    with pytest.raises(DataError) as caught:
        list(read_file_lines(tmp_path))
    assert (
        str(caught.value) == f"{tmp_path} is a folder where a file was expected. Name one of the files in it."
    )
