"""Turns what goes wrong in a command into a sentence and an exit code."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import typer

from polygraft.cli.console import fail
from polygraft.cli.streams import ReaderGoneError, close_output
from polygraft.errors import PolygraftError

INTERRUPTED = 130
"""The exit code of what was stopped by Ctrl-C, as shells have it."""

P = ParamSpec("P")
R = TypeVar("R")


def explain(command: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command so that it ends with a sentence instead of a traceback.

    Args:
        command: What typer is to call.
    """

    @wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return command(*arguments, **options)
        except PolygraftError as error:
            fail(str(error))
            raise typer.Exit(error.exit_code) from None
        except ReaderGoneError:
            close_output()
            raise typer.Exit(0) from None
        except OSError as error:
            fail(describe_refused(error))
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            fail("Stopped. Nothing was left half-written; give the same command again to start anew.")
            raise typer.Exit(INTERRUPTED) from None

    return run


def describe_refused(error: OSError) -> str:
    """Say that the system refused to read or write, and where."""
    place = f" '{error.filename}'" if error.filename else ""
    return (
        f"The system refused to read or write{place}: {error.strerror or error}. Expected a place that can be "
        "written, with room on the disk. Nothing that was finished is lost: mend it, and give the same command again."
    )


def describe_unexpected(error: Exception) -> str:
    """Say that an error was not foreseen, and what to do."""
    first = str(error).strip().partition("\n")[0]
    what = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return (
        f"Something happened that polygraft did not expect ({what}). This is a defect of polygraft, not of "
        "your input. Give the same command with --traceback to see where, and report it with what is printed."
    )
