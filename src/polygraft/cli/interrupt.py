"""Stopping: the first Ctrl-C ends the work after the step in progress, the second ends it at once."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

import typer

from polygraft.cli.console import fail, say
from polygraft.cli.explain import INTERRUPTED
from polygraft.errors import PolygraftError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopFlag:
    """Asked between two steps whether to go on; raised by the first signal."""

    def __init__(self) -> None:
        self.is_up = False

    def __call__(self) -> bool:
        """Say whether to stop."""
        return self.is_up

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Take a signal: remember the first, and stop at the second."""
        if self.is_up:
            raise KeyboardInterrupt
        self.is_up = True
        say(
            "Stopping after the step in progress, so that nothing is lost. "
            "Press Ctrl-C again to stop at once.",
            style="yellow",
        )


@contextmanager
def stop_on_signals(flag: StopFlag | None = None) -> Generator[StopFlag]:
    """Let signals raise a flag, and end with the exit code of an interruption where one did.

    Args:
        flag: The flag, where it was made before; None makes one.

    Example:
        >>> with stop_on_signals() as should_stop:
        ...     should_stop()
        False
    """
    flag = StopFlag() if flag is None else flag
    before = {number: signal.signal(number, flag.receive) for number in SIGNALS}
    try:
        yield flag
    except PolygraftError as error:
        if not flag.is_up:
            raise
        fail(str(error))
        raise typer.Exit(INTERRUPTED) from None
    except KeyboardInterrupt:
        fail(
            "Stopped at once. What was saved last is whole: give the same command again to go on from there."
        )
        raise typer.Exit(INTERRUPTED) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
