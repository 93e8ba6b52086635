from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from polygraft.cli.lines import read_arriving, read_file_lines, read_lines_of
from polygraft.errors import DataError


class Trickle(io.BytesIO):
    """A stream that gives no more than a few bytes at once."""

    def __init__(self, content: bytes, *, size: int) -> None:
        super().__init__(content)
        self.size = size

    def read1(self, size: int | None = -1) -> bytes:
        return super().read1(self.size)


def test_line_ends_and_a_byte_order_mark_are_dropped():
    source = ["\ufeffana\r\n".encode(), b"\n", b"lima"]
    assert list(read_lines_of(source, name="standard input")) == ["ana", "", "lima"]


def test_lines_come_before_the_input_ends():
    def endless():
        while True:
            yield b"ana\n"

    lines = read_lines_of(endless(), name="standard input")
    assert [next(lines) for _ in range(3)] == ["ana"] * 3


def test_lines_that_are_there_come_together_and_none_is_waited_for():
    end, begin = os.pipe()
    with os.fdopen(end, "rb") as source, os.fdopen(begin, "wb", buffering=0) as sink:
        batches = read_arriving(source, name="standard input")
        sink.write("\ufeffana\r\nlima\nthe m".encode())
        assert next(batches) == ["ana", "lima"]
        sink.write(b"oon\n\n")
        assert next(batches) == ["the moon", ""]
        sink.write(b"no end")
        sink.close()
        assert list(batches) == [["no end"]]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_however_the_bytes_arrive_the_lines_are_the_same(size: int):
    content = "ana\r\n\nñuqa\nlima".encode()
    batches = list(read_arriving(Trickle(content, size=size), name="standard input"))
    assert [line for lines in batches for line in lines] == ["ana", "", "ñuqa", "lima"]
    assert (len(batches) == 2) == (size == 1000)


def test_what_arrives_and_is_no_text_is_refused_with_its_line():
    batches = read_arriving(Trickle(b"ana\n\xff\n", size=4), name="standard input")
    assert next(batches) == ["ana"]
    with pytest.raises(DataError) as caught:
        next(batches)
    assert str(caught.value) == (
        "standard input, line 2: byte 1 of the line is 0xFF, which is not UTF-8 there. Plain text was expected, one "
        "sentence a line. Convert it, for example with `iconv -f LATIN1 -t UTF-8`."
    )


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
