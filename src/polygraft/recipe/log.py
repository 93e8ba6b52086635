"""A log of what happens while grafts are trained: a line of JSON for each event."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from os import SEEK_END
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from polygraft.errors import OptionError
from polygraft.report.reader import to_plain

if TYPE_CHECKING:
    from polygraft.train.step import Step


class EventLog:
    """Adds events to a file, each as soon as it is told.

    Args:
        file: Open for text; None for nowhere.
    """

    def __init__(self, file: TextIO | None) -> None:
        self.file = file

    def write(self, event: str, facts: Mapping[str, object]) -> None:
        """Write an event as one line of JSON.

        Args:
            event: What it is called.
            facts: What belongs to it; paths are written as text, and numbers that are none by their names.

        Raises:
            OSError: The file, which it names, cannot be written any more; what is told later goes nowhere.
        """
        if self.file is None:
            return
        head = {"event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        line = json.dumps({**head, **as_object(facts)}, ensure_ascii=False, default=str) + "\n"
        try:
            self.file.write(line)
            self.file.flush()
        except OSError as error:
            file, name, self.file = self.file, str(self.file.name), None
            # What was not written yet would be tried again.
            with suppress(OSError):
                file.close()
            raise OSError(error.errno, error.strerror, name) from None


@contextmanager
def open_log(path: Path | None) -> Generator[EventLog]:
    """Open a log; what an earlier command wrote into it stays, and a line that it did not finish is ended.

    Args:
        path: The file, which is made if it is not there; None logs nothing.

    Raises:
        OptionError: It cannot be written.
    """
    if path is None:
        yield EventLog(None)
        return
    try:
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise OptionError(
            f"The log {path} cannot be written: {error.strerror}. A file in a folder that is there and may be written "
            "was expected. Make the folder, or give another file to --log-json."
        ) from None
    with file:
        if _is_cut_short(path):
            file.write("\n")
        yield EventLog(file)


def _is_cut_short(path: Path) -> bool:
    """Whether a file's last line has no end: what wrote it was killed."""
    # Pipes and devices have no last line; one that may not be read is left as it is.
    if not path.is_file():
        return False
    with suppress(OSError), path.open("rb") as file:
        if file.seek(0, SEEK_END):
            file.seek(-1, SEEK_END)
            return file.read(1) != b"\n"
    return False


def describe_step(step: Step) -> dict[str, float | int | str | bool | None]:
    """Give what a log tells of an update.

    Returns:
        Losses in nats, learning rate, tokens and seconds since the beginning of the training, how many of the seconds
        went into scoring held-out data, the rate without these, the score on held-out data where it was taken (0 to 1;
        of masked language modelling the loss), bytes, and the seconds to the end.
    """
    peak = step.peak_device_memory_bytes
    return {
        "step": step.number,
        "total": step.total,
        "loss": step.loss,
        "lr": step.lr,
        "plan": step.plan,
        "tokens": step.tokens,
        "seconds": step.seconds,
        "scoring_seconds": step.scoring_seconds,
        "tokens_per_second": step.tokens_per_second,
        # A held-out loss is told as its negative, because larger is better there.
        "held_out": None if step.held_out is None else abs(step.held_out),
        "is_best": step.is_best,
        "peak_memory_bytes": step.peak_memory_bytes,
        **({} if peak is None else {"peak_device_memory_bytes": peak}),
        "seconds_left": step.seconds_left,
    }


def as_object(value: object) -> dict[str, object]:
    """Give the fields of a dataclass, or the entries of a mapping, as JSON can hold them."""
    plain = to_plain(value)
    assert isinstance(plain, dict)
    return plain
