"""Lines of text as they arrive, for input that may be long or endless."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

from polygraft.data.open import check_readable, show
from polygraft.errors import DataError

BYTE_ORDER_MARK = "\ufeff"
CHUNK_BYTES = 65536
"""What a pipe holds; more cannot be there at once."""

Line = TypeVar("Line", str, bytes)


def read_file_lines(path: Path) -> Iterator[str]:
    """Read the lines of a text file one by one.

    Raises:
        DataError: The file cannot be opened, or holds what is not text.
    """
    yield from read_lines_of(read_raw_lines(path), name=str(path))


def read_raw_lines(path: Path) -> Iterator[bytes]:
    """Read the lines of a file one by one as bytes, with their ends.

    Raises:
        DataError: The file cannot be opened.
    """
    try:
        file = path.open("rb")
    except OSError:
        # Gives the sentence that belongs to the reason.
        check_readable(path)
        raise
    with file:
        yield from file


def read_lines_of(source: Iterable[bytes], *, name: str, first: int = 1) -> Iterator[str]:
    """Read lines of UTF-8 without their ends.

    Args:
        source: Lines of bytes, such as an open file.
        name: What messages call it.
        first: The number of the first line, for messages; line 1 may begin with a byte order mark.

    Raises:
        DataError: A line is not text.

    Example:
        >>> list(read_lines_of([b"Ana\\r\\n", b"", b"Lima"], name="standard input"))
        ['Ana', '', 'Lima']
    """
    for number, raw in enumerate(source, start=first):
        yield decode_line(raw, name=name, number=number)


def decode_line(raw: bytes, *, name: str, number: int) -> str:
    """Give a line of UTF-8 without its end, and the first one without a byte order mark.

    Args:
        raw: The line.
        name: What messages call its source.
        number: Its number there, from 1.

    Raises:
        DataError: It is not text.

    Example:
        >>> decode_line(b"Ana\\r\\n", name="standard input", number=1)
        'Ana'
    """
    try:
        line = raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name}, line {number}: byte {error.start + 1} of the line is 0x{raw[error.start]:02X}, "
            "which is not UTF-8 there. Plain text was expected, one sentence a line. Convert it, for example with "
            "`iconv -f LATIN1 -t UTF-8`."
        ) from None
    if "\0" in line:
        raise DataError(
            f"{name}, line {number}: the line holds a NUL character ({show(line)}). Plain text "
            "was expected, one sentence a line. Check that the input is not binary or UTF-16."
        )
    return line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line


def read_argument(text: str, *, name: str) -> list[str]:
    """Give the lines of an argument; an empty one is one empty line.

    Args:
        text: The argument. Python keeps bytes of it that are not UTF-8 as lone surrogates.
        name: What messages call it.

    Raises:
        DataError: It is not text.

    Example:
        >>> read_argument("Ana\\nLima", name="--text")
        ['Ana', 'Lima']
    """
    return list(read_lines_of(split_argument(text), name=name))


def split_argument(text: str) -> list[bytes]:
    """Give the lines of an argument as the bytes that were given; an empty one is one empty line."""
    return list(io.BytesIO(text.encode("utf-8", "surrogateescape"))) or [b""]


def read_arriving(source: io.BufferedIOBase, *, name: str) -> Iterator[list[str]]:
    """Read lines as they arrive: all that are there, and then wait for more.

    Args:
        source: A stream of bytes, such as standard input.
        name: What messages call it.

    Raises:
        DataError: A line is not text.

    Example:
        >>> list(read_arriving(io.BytesIO(b"Ana\\nLima"), name="standard input"))
        [['Ana'], ['Lima']]
    """
    first = 1
    for lines in gather_arriving(source):
        yield list(read_lines_of(lines, name=name, first=first))
        first += len(lines)


def cut(lines: Iterable[Line], *, num_lines: int) -> Iterator[list[Line]]:
    """Cut lines into lists of so many."""
    rest = iter(lines)
    while batch := list(islice(rest, num_lines)):
        yield batch


def gather_arriving(source: io.BufferedIOBase) -> Iterator[list[bytes]]:
    """Give lines of bytes without their ends in lists of those that are there, as they arrive.

    `read1` waits for nothing but the first byte.
    """
    begun: list[bytes] = []
    while chunk := source.read1(CHUNK_BYTES):
        first, *others = chunk.split(b"\n")
        begun.append(first)
        if others:
            yield [b"".join(begun), *others[:-1]]
            begun = [others[-1]]
    if any(begun):
        yield [b"".join(begun)]
