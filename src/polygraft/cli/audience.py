"""Who is told how a training goes: whoever looks at the display, and the log. None of them can end it."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from polygraft.cli.console import make_console, say
from polygraft.cli.progress import make_display
from polygraft.cli.streams import find_refusal

if TYPE_CHECKING:
    from polygraft.cli.progress import Display
    from polygraft.recipe.log import EventLog


class Audience:
    """A display and a log. Training goes on without one that cannot be written, and the other is told so once.

    Args:
        display: Where steps are shown, on standard error.
        log: Where events go.
    """

    def __init__(self, display: Display, log: EventLog) -> None:
        self.display = display
        self.log = log
        self.lost: list[str] = []
        """Sentences about what training goes on without."""
        self._is_display_lost = False

    def write(self, event: str, facts: Mapping[str, object]) -> None:
        """Add an event to the log.

        Args:
            event: What it is called.
            facts: What belongs to it.
        """
        try:
            self.log.write(event, facts)
        except OSError as error:
            self.lose(
                f"The log {error.filename} cannot be written any more: {error.strerror}. Expected a file with room, or "
                "a reader that stays to the end. Training goes on without it; give the next command another file with "
                "--log-json."
            )
        self._look_at_display()

    def note(self, sentence: str) -> None:
        """Tell a sentence that a user should see."""
        self.display.note(sentence)
        self.write("Noted", {"sentence": sentence})

    def lose(self, sentence: str) -> None:
        """Tell what training goes on without, now and once more at its end."""
        self.lost.append(sentence)
        self.note(sentence)

    def _look_at_display(self) -> None:
        """See whether standard error takes what is shown; where it does not, the log is told."""
        if self._is_display_lost or self.log.file is None:
            return
        refusal = find_refusal(make_console(stderr=True).file)
        if refusal is not None:
            self._is_display_lost = True
            self.lose(
                f"Standard error cannot be written: {refusal}. Expected a file with room, or a reader that stays to "
                "the end. Training goes on without showing how it goes; read it in this log."
            )


@contextmanager
def gather_audience(log: EventLog) -> Generator[Audience]:
    """Show inside the block how trainings go; at the end it is told again what could not be written.

    Args:
        log: Where events go.
    """
    display = make_display()
    audience = Audience(display, log)
    try:
        with display:
            yield audience
    finally:
        for sentence in audience.lost:
            say(sentence, style="yellow")
