"""Standard input, output and error as a command needs them, however the program was started."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys

ESCAPES = "polygraft.escapes"
"""What Python calls the way in which `escape` writes characters."""


def prepare_streams() -> None:
    """Make streams that were closed harmless, and let any character be written.

    What goes to a closed standard output or standard error goes nowhere. A closed standard input stays None, and its
    number is taken, so that no file that is opened later is mistaken for it. A character that an output cannot write,
    as under ASCII, is written as an escape.
    """
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = _open_nowhere()
    if sys.stderr is None:
        sys.stderr = _open_nowhere()
    codecs.register_error(ESCAPES, escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors=ESCAPES)


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
