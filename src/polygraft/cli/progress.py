"""Shows how training goes: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from typing_extensions import override

from polygraft.cli.console import make_console, say
from polygraft.settings import load_launch

if TYPE_CHECKING:
    from polygraft.train.step import Step

SECONDS_BETWEEN_LINES = 5.0
ROOM_BESIDE_BAR = 76
"""Columns that the numbers beside a bar take."""


class Display(ABC):
    """What shows the steps of a piece of work, one after the other."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def begin(self, title: str, *, name: str) -> None:
        """Begin a piece of work.

        Args:
            title: What it is.
            name: What it is called beside a bar.
        """

    @abstractmethod
    def advance(self, step: Step) -> None:
        """Show one update of a graft."""

    @abstractmethod
    def end(self, sentence: str) -> None:
        """End the piece of work, and leave a line about it."""

    @abstractmethod
    def note(self, sentence: str) -> None:
        """Say something beside it."""

    @abstractmethod
    def close(self) -> None:
        """Take the bar away."""


def make_display() -> Display:
    """Make the display that suits standard error."""
    if not load_launch().is_first:
        return SilentDisplay()
    return LiveDisplay() if make_console(stderr=True).is_terminal else PlainDisplay()


def describe_step(step: Step, *, held_out: float | None, decimals: int = 3) -> str:
    """Say how training stands, in a few numbers.

    Args:
        step: The last update.
        held_out: The last score on held-out data.
        decimals: How many of a loss or score are shown.
    """
    from polygraft.report.numbers import format_bytes

    numbers = [f"loss {step.loss:.{decimals}f}"]
    if held_out is not None:
        # A held-out loss is told to training as its negative, because larger is better there.
        numbers.append(f"dev {abs(held_out):.{decimals}f}")
    numbers += [f"{step.tokens_per_second:,.0f} tokens/s", format_bytes(step.peak_memory_bytes)]
    return ", ".join(numbers)


class LiveDisplay(Display):
    """A bar that moves, with rate and time left."""

    def __init__(self) -> None:
        console = make_console(stderr=True)
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", style="bold"),
            BarColumn(bar_width=min(24, max(6, console.width - ROOM_BESIDE_BAR))),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            redirect_stdout=False,
        )
        self.task: TaskID | None = None
        self.held_out: float | None = None

    @override
    def begin(self, title: str, *, name: str) -> None:
        self._clear()
        self.progress.start()
        self.progress.console.print(Text(title), soft_wrap=True)
        self.task = self.progress.add_task(name, total=None, numbers="")

    @override
    def advance(self, step: Step) -> None:
        if self.task is None:
            return
        self.held_out = step.held_out if step.held_out is not None else self.held_out
        numbers = describe_step(step, held_out=self.held_out, decimals=2)
        self.progress.update(self.task, total=step.total, completed=step.number, numbers=numbers)

    @override
    def end(self, sentence: str) -> None:
        self._clear()
        self.progress.console.print(Text.assemble(("\u2713 ", "green"), sentence), soft_wrap=True)

    @override
    def note(self, sentence: str) -> None:
        self.progress.console.print(Text(sentence, style="yellow"), soft_wrap=True)

    @override
    def close(self) -> None:
        self._clear()
        self.progress.stop()

    def _clear(self) -> None:
        if self.task is not None:
            self.progress.remove_task(self.task)
        self.task, self.held_out = None, None


class SilentDisplay(Display):
    """Nothing: of several processes, the first one shows how training goes."""

    @override
    def begin(self, title: str, *, name: str) -> None:
        pass

    @override
    def advance(self, step: Step) -> None:
        pass

    @override
    def end(self, sentence: str) -> None:
        pass

    @override
    def note(self, sentence: str) -> None:
        pass

    @override
    def close(self) -> None:
        pass


class PlainDisplay(Display):
    """A line at the beginning and the end, and every few seconds between them."""

    def __init__(self) -> None:
        self.name = ""
        self.shown_at = 0.0
        self.held_out: float | None = None

    @override
    def begin(self, title: str, *, name: str) -> None:
        self.name, self.held_out, self.shown_at = name, None, time.monotonic()
        say(title, style="")

    @override
    def advance(self, step: Step) -> None:
        from polygraft.report.numbers import format_seconds

        self.held_out = step.held_out if step.held_out is not None else self.held_out
        now = time.monotonic()
        if now - self.shown_at < SECONDS_BETWEEN_LINES:
            return
        self.shown_at = now
        left = format_seconds(step.seconds / step.number * (step.total - step.number))
        numbers = describe_step(step, held_out=self.held_out)
        say(f"{self.name}: step {step.number} of {step.total}, {numbers}, {left} left", style="")

    @override
    def end(self, sentence: str) -> None:
        say(sentence, style="")

    @override
    def note(self, sentence: str) -> None:
        say(sentence, style="")

    @override
    def close(self) -> None:
        pass
