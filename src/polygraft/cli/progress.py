"""Shows how training goes: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
)
from rich.text import Text
from typing_extensions import override

from polygraft.cli.console import make_console, say
from polygraft.settings import load_launch

if TYPE_CHECKING:
    from polygraft.train.step import Step

SECONDS_BETWEEN_LINES = 5.0
LEAST_FOR_BAR = 60
"""Columns below which a terminal gets the numbers without a bar."""
ROOM_BESIDE_BAR = 92
"""Columns that all but the bar take, where a terminal is wide enough for all of it."""
GAPS = 5
"""Columns that the spinner and the gaps take."""
LEAST_NEEDED = ("memory", "rate", "dev", "loss")
"""What is left out of a narrow terminal, first to last; the time left always stays."""


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


def list_numbers(step: Step, *, held_out: float | None, is_short: bool = False) -> dict[str, str]:
    """Say how training stands: loss, dev, rate, memory and left, in the order in which they are read.

    Args:
        step: The last update.
        held_out: The last score on held-out data.
        is_short: Whether they stand beside a bar, with fewer digits.
    """
    from polygraft.report.numbers import format_bytes, format_seconds

    decimals = 2 if is_short else 3
    left = format_clock(step.seconds_left) if is_short else format_seconds(step.seconds_left)
    # A held-out loss is told to training as its negative, because larger is better there.
    dev = {} if held_out is None else {"dev": f"dev {abs(held_out):.{decimals}f}"}
    return {
        "loss": f"loss {step.loss:.{decimals}f}",
        **dev,
        "rate": f"{step.tokens_per_second:,.0f} tokens/s",
        "memory": format_bytes(step.peak_memory_bytes),
        "left": f"{left} left",
    }


def format_clock(seconds: float) -> str:
    """Write a duration as a clock does.

    Example:
        >>> format_clock(8), format_clock(252), format_clock(8100)
        ('0:08', '4:12', '2:15:00')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def fit_numbers(numbers: Mapping[str, str], *, room: int) -> str:
    """Put numbers into one line, without those that are needed least where there is no room for them.

    Args:
        numbers: What `list_numbers` gives.
        room: Columns that there are.

    Example:
        >>> fit_numbers({"loss": "loss 0.5", "memory": "1 GB", "left": "3 s left"}, room=20)
        'loss 0.5, 3 s left'
    """
    kept = dict(numbers)
    for name in LEAST_NEEDED:
        if len(", ".join(kept.values())) <= room:
            break
        kept.pop(name, None)
    return ", ".join(kept.values())


class LiveDisplay(Display):
    """A bar that moves, with loss, score, rate, memory and time left beside it."""

    def __init__(self) -> None:
        console = make_console(stderr=True)
        self.bar_width = (
            0 if console.width < LEAST_FOR_BAR else min(24, max(6, console.width - ROOM_BESIDE_BAR))
        )
        self.name = ""
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", style="bold"),
            *([BarColumn(bar_width=self.bar_width)] if self.bar_width else []),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
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
        longest = max(8, self.progress.console.width // 3)
        self.name = name if len(name) <= longest else f"{name[: longest - 1]}\u2026"
        self.task = self.progress.add_task(self.name, total=None, numbers="")

    @override
    def advance(self, step: Step) -> None:
        if self.task is None:
            return
        self.held_out = step.held_out if step.held_out is not None else self.held_out
        taken = len(self.name) + self.bar_width + len(f"{step.total}/{step.total}") + GAPS
        numbers = fit_numbers(
            list_numbers(step, held_out=self.held_out, is_short=True),
            room=self.progress.console.width - taken,
        )
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
        self.held_out = step.held_out if step.held_out is not None else self.held_out
        now = time.monotonic()
        if now - self.shown_at < SECONDS_BETWEEN_LINES:
            return
        self.shown_at = now
        numbers = ", ".join(list_numbers(step, held_out=self.held_out).values())
        say(f"{self.name}: step {step.number} of {step.total}, {numbers}", style="")

    @override
    def end(self, sentence: str) -> None:
        say(sentence, style="")

    @override
    def note(self, sentence: str) -> None:
        say(sentence, style="")

    @override
    def close(self) -> None:
        pass
