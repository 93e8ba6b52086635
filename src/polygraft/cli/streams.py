"""Standard input, output and error as a command needs them, however the program was started."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from typing import IO, cast

from typing_extensions import Buffer, override

ESCAPES = "polygraft.escapes"
"""What Python calls the way in which `escape` writes characters."""


class ReaderGoneError(BrokenPipeError):
    """Whoever reads standard output has read enough; no other broken pipe means that."""


class ForgivingFile(io.RawIOBase):
    """A file to which anything can be written: what the system refuses is lost.

    Args:
        file: Where it is written.
    """

    def __init__(self, file: io.RawIOBase) -> None:
        super().__init__()
        self.file = file
        self.refusal: str | None = None
        """Why something was lost first; None where nothing was."""

    @override
    def writable(self) -> bool:
        return True

    @override
    def fileno(self) -> int:
        return self.file.fileno()

    @override
    def isatty(self) -> bool:
        return self.file.isatty()

    @override
    def write(self, data: Buffer, /) -> int:
        try:
            written = self.file.write(data)
        except OSError as error:
            self.refusal = self.refusal or error.strerror or str(error)
            written = None
        # A pipe that is full and not waited for takes nothing.
        return memoryview(data).nbytes if written is None else written


def prepare_streams() -> None:
    """Make streams that were closed harmless, and let any character be written.

    What goes to a closed standard output or standard error goes nowhere, and so does what standard error cannot take: a
    full disk, or a reader that has gone, is no reason to end what is at work. A closed standard input stays None, and
    its number is taken, so that no file that is opened later is mistaken for it. A character that an output cannot
    write, as under ASCII, is written as an escape.
    """
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = _open_nowhere()
    if sys.stderr is None:
        sys.stderr = _open_nowhere()
    elif isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = forgive(sys.stderr)
    codecs.register_error(ESCAPES, escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors=ESCAPES)


def forgive(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """Give a stream that writes, line by line, where another does, and loses what cannot be written there.

    Args:
        stream: The other, which nothing is written to any more; it has to stay open.
    """
    binary = stream.buffer
    raw = binary.raw if isinstance(binary, io.BufferedWriter) else binary
    file = ForgivingFile(cast("io.RawIOBase", raw))
    return io.TextIOWrapper(
        io.BufferedWriter(file), encoding=stream.encoding, errors=stream.errors, line_buffering=True
    )


def find_refusal(stream: IO[str]) -> str | None:
    """Give why a stream that `forgive` gave lost something; None where it lost nothing, or is another stream."""
    if not isinstance(stream, io.TextIOWrapper) or not isinstance(stream.buffer, io.BufferedWriter):
        return None
    return stream.buffer.raw.refusal if isinstance(stream.buffer.raw, ForgivingFile) else None


def escape(error: UnicodeError) -> tuple[str, int]:
    """Give characters that an encoding lacks as JSON escapes them, so that lines of JSON stay JSON.

    Args:
        error: What Python says of them.

    Raises:
        UnicodeError: It is not about writing.

    Example:
        >>> escape(UnicodeEncodeError("ascii", "ñuqa", 0, 1, "not ASCII"))
        ('\\\\u00f1', 1)
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return json.dumps(lacking)[1:-1], error.end


def close_output() -> None:
    """Send what is still written to standard output nowhere: its reader has gone, or its disk is full."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _open_nowhere() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.FileIO(os.devnull, "w"), encoding="utf-8", errors="backslashreplace")
