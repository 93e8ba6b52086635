"""Lines of text as they arrive, for input that may be long or endless."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from polygraft.data.open import read_lines, show
from polygraft.errors import DataError

BYTE_ORDER_MARK = "\ufeff"


def read_file_lines(path: Path) -> Iterator[str]:
    """Read the lines of a text file one by one.

    Raises:
        DataError: The file cannot be opened, or holds what is not text.
    """
    try:
        file = path.open("rb")
    except OSError:
        # Gives the sentence that belongs to the reason.
        yield from read_lines(path)
        return
    with file:
        yield from read_lines_of(file, name=str(path))


def read_lines_of(source: Iterable[bytes], *, name: str) -> Iterator[str]:
    """Read lines of UTF-8 without their ends.

    Args:
        source: Lines of bytes, such as an open file.
        name: What messages call it.

    Raises:
        DataError: A line is not text.

    Example:
        >>> list(read_lines_of([b"Ana\\r\\n", b"", b"Lima"], name="standard input"))
        ['Ana', '', 'Lima']
    """
    for number, raw in enumerate(source, start=1):
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
        yield line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
