"""A file becomes lines of text, or an error that says which line and why."""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from polygraft.errors import DataError, nearest

_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
_SHOWN = 60
_BYTE_ORDER_MARK = "\ufeff"


def read_lines(path: Path | str) -> list[str]:
    """Read a UTF-8 file as lines without their ends.

    Only a line feed, alone or after a carriage return, ends a line: other characters that Unicode calls line
    separators stay inside. A byte order mark is dropped.

    Args:
        path: The file.

    Raises:
        DataError: The file cannot be opened, or holds bytes that are not UTF-8.
    """
    content = _read_bytes(Path(path))
    if content.startswith(codecs.BOM_UTF8):
        content = content[len(codecs.BOM_UTF8) :]
        skipped = len(codecs.BOM_UTF8)
    else:
        skipped = 0
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(_describe_bad_byte(path, content, start=error.start, skipped=skipped)) from None
    lines = text.replace("\r\n", "\n").split("\n")
    if lines[-1] == "":
        lines.pop()
    return lines


def stream_lines(path: Path | str) -> Iterator[str]:
    """Read the lines of a UTF-8 file one by one, as `read_lines` cuts them, for files that may be long.

    Args:
        path: The file.

    Raises:
        DataError: The file cannot be opened, or holds bytes that are not UTF-8.
    """
    check_readable(path)
    with Path(path).open("rb") as file:
        for number, raw in enumerate(file):
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError:
                # Gives the sentence that says where.
                read_lines(path)
                raise
            line = line.removesuffix("\n").removesuffix("\r") if line.endswith("\n") else line
            yield line.removeprefix(_BYTE_ORDER_MARK) if number == 0 else line


def check_readable(path: Path | str) -> None:
    """Refuse a file that cannot be opened.

    Args:
        path: The file.

    Raises:
        DataError: It cannot be opened.
    """
    try:
        with Path(path).open("rb"):
            pass
    except (OSError, ValueError) as error:
        raise DataError(_describe_unreadable(Path(path), error)) from None


def file_digest(path: Path | str) -> str:
    """Give the SHA-256 of a file's bytes as 64 hexadecimal digits.

    Args:
        path: The file.

    Raises:
        DataError: The file cannot be opened.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(_describe_unreadable(Path(path), error)) from None


def refuse_control_characters(text: str, *, path: Path | str, line: int) -> None:
    """Refuse a line that holds a control character other than the tab.

    Args:
        text: The line.
        path: The file it is from.
        line: Its number in the file, counted from 1.

    Raises:
        DataError: A control character is there.
    """
    found = _CONTROL.search(text)
    if found is not None:
        raise DataError(
            f"{path}, line {line}: the control character U+{ord(found[0]):04X} stands at character "
            f"{found.start() + 1} ({show(text)}). A line is plain text. Remove the character from the file."
        )


def show(text: str) -> str:
    """Quote a piece of a file for a message, with control characters escaped and long ones cut.

    Args:
        text: What the file holds.

    Example:
        >>> show("Cusco B-LOC x")
        "'Cusco B-LOC x'"
    """
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(_describe_unreadable(path, error)) from None


def _describe_unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, IsADirectoryError):
        return f"{path} is a folder where a file was expected. Name one of the files in it."
    if isinstance(error, FileNotFoundError):
        names = list_neighbours(path)
        return (
            f"There is no file {path}.{nearest(path.name, names)} An existing file was expected. Check the "
            "path; a relative one starts at the folder where the program was started."
        )
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{path} cannot be read: {reason}. A readable file was expected. Check its path and permissions."


def list_neighbours(path: Path) -> list[str]:
    """List the names in the folder where a path would be; there are none where it is no folder that can be read.

    Args:
        path: The path, of something that may not be there.
    """
    try:
        return sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        return []


def _describe_bad_byte(path: Path | str, content: bytes, *, start: int, skipped: int) -> str:
    line = content.count(b"\n", 0, start) + 1
    column = start - (content.rfind(b"\n", 0, start) + 1) + 1
    is_utf16 = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    hint, encoding = ("It looks like UTF-16. ", "UTF-16") if is_utf16 else ("", "LATIN1")
    return (
        f"{path}, line {line}: byte {column} of the line (offset {start + skipped} in the file) is "
        f"0x{content[start]:02X}, which is not UTF-8 there. {hint}"
        f"Files are read as UTF-8. Convert it, for example with `iconv -f {encoding} -t UTF-8`."
    )
