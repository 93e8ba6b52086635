"""A training goes on without a log, a tracker or a display that cannot be written."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.cli.conftest import Command
from tests.cli.test_tracking import TOLD, Printing
from tests.cli.test_tracking import listed as listed

from polygraft.cli.audience import gather_audience
from polygraft.cli.explain import explain
from polygraft.cli.streams import ForgivingFile, find_refusal, forgive
from polygraft.recipe.log import EventLog, open_log
from polygraft.store.store import Store

TOKENS = ("train", "tokens", "--train", "tagged.conll", "--name", "new", "--steps", "3")
LOST = (
    "The log {log} cannot be written any more: {reason}. Expected a file with room, or a reader that stays to the end. "
    "Training goes on without it; give the next command another file with --log-json."
)
TRACKER = (
    "The tracker 'trackio' failed: ConnectionError: No route. Expected it to take every update. Training goes on "
    "without it; its own pages say what may be wrong."
)
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")


@needs_full
@pytest.mark.parametrize("words", [TOKENS, (*TOKENS, "--seeds", "0,1")])
def test_a_training_goes_on_without_its_log(words: tuple[str, ...], polygraft: Command):
    done = polygraft(*words, "--log-json", "/dev/full", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)
    sentence = LOST.format(log="/dev/full", reason="No space left on device")
    # Once when it happens, and once at the end.
    assert done.stderr.splitlines().count(sentence) == 2
    assert done.stderr.splitlines()[-1] == sentence


@needs_full
def test_a_run_goes_on_without_its_log(polygraft: Command):
    done = polygraft("run", "recipe.toml", "--only", "language.qu", "--log-json", "/dev/full", "--json")
    assert done.exit_code == 0
    sentence = LOST.format(log="/dev/full", reason="No space left on device")
    assert done.stderr.splitlines().count(sentence) == 2
    assert Store("store").manifest("qu").hyperparameters["steps_done"] == 3


@pytest.mark.parametrize("words", [TOKENS, ("run", "recipe.toml", "--only", "language.qu")])
def test_a_training_goes_on_without_its_tracker_and_the_log_says_so(
    words: tuple[str, ...], polygraft: Command, monkeypatch: pytest.MonkeyPatch
):
    def log(self: Printing, values: dict[str, Any], step: int, **options: Any) -> None:
        if step == 2:
            raise ConnectionError("No route.")
        TOLD.append(step)

    monkeypatch.setattr(Printing, "log", log)
    done = polygraft(*words, "--tracker", "trackio", "--log-json", "log.jsonl", "--json")
    assert done.exit_code == 0
    assert [each for each in TOLD if isinstance(each, int)] == [1]
    assert done.stderr.splitlines().count(TRACKER) == 2
    events = [json.loads(line) for line in Path("log.jsonl").read_text().splitlines()]
    assert [event["sentence"] for event in events if event["event"] == "Noted"].count(TRACKER) == 1
    assert [event["step"] for event in events if event["event"] == "TrainStep"] == [1, 2, 3]


def test_an_error_beside_a_training_leaves_a_checkpoint(polygraft: Command, monkeypatch: pytest.MonkeyPatch):
    def start(self: Printing) -> None:
        raise ConnectionError("No account.")

    with monkeypatch.context() as patch:
        patch.setattr(Printing, "start", start)
        done = polygraft(*TOKENS, "--tracker", "trackio")
    assert done.exit_code == 1
    assert done.stderr.endswith(
        "error: The tracker 'trackio' cannot be opened: ConnectionError: No account. Expected it to be set up as its "
        "own pages say. Set it up, or train without it.\n"
    )
    assert "Training of 'new' goes on after step 1 of 3.\n" in polygraft(*TOKENS).stderr


class Broken(io.RawIOBase):
    """A pipe whose reader has gone."""

    name = "log.jsonl"

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def lose_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let standard error be a pipe whose reader has gone."""
    monkeypatch.setattr(sys, "stderr", forgive(io.TextIOWrapper(io.BufferedWriter(Broken()))))


def test_the_log_is_told_once_that_nothing_can_be_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lose_readers(monkeypatch)
    path = tmp_path / "log.jsonl"
    with open_log(path) as log, gather_audience(log) as audience:
        audience.write("before", {})
        audience.display.begin("Training ...", name="new")
        for name in ("first", "second"):
            audience.write(name, {})
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [event["event"] for event in events] == ["before", "first", "Noted", "second"]
    assert events[2]["sentence"] == (
        "Standard error cannot be written: Broken pipe. Expected a file with room, or a reader that stays to the end. "
        "Training goes on without showing how it goes; read it in this log."
    )


def test_where_neither_can_be_written_nobody_is_told(monkeypatch: pytest.MonkeyPatch):
    lose_readers(monkeypatch)
    log = EventLog(io.TextIOWrapper(io.BufferedWriter(Broken())))
    with gather_audience(log) as audience:
        audience.note("A sentence.")
        audience.write("an event", {})
    assert audience.lost == [LOST.format(log="log.jsonl", reason="Broken pipe")]


def test_a_forgiving_file_writes_what_it_can_and_keeps_the_first_reason():
    class Narrow(Broken):
        """A file that takes three bytes at a time, six in all."""

        taken = b""

        def write(self, data: Any) -> int | None:
            if len(self.taken) < 6:
                self.taken += bytes(data[:3])
                return 3
            if bytes(data).startswith(b"wait"):
                return None
            raise OSError(errno.EIO, bytes(data).decode())

    narrow = Narrow()
    file = ForgivingFile(narrow)
    with io.BufferedWriter(file) as buffer:
        for text in (b"abcdef", b"wait", b"first", b"second"):
            buffer.write(text)
            buffer.flush()
    assert narrow.taken == b"abcdef"
    assert file.refusal == "first"


def test_other_streams_refuse_nothing_that_is_known(tmp_path: Path):
    with (tmp_path / "a").open("w") as file:
        assert find_refusal(file) is None
        stream = forgive(file)
        stream.write("é ☃\n")
        assert find_refusal(stream) is None
        assert (tmp_path / "a").read_text() == "é ☃\n"
        assert (stream.fileno(), stream.isatty()) == (file.fileno(), False)
    assert find_refusal(io.StringIO()) is None


def test_a_broken_pipe_that_is_not_standard_output_is_an_error(capsys: pytest.CaptureFixture[str]):
    reading, writing = os.pipe()
    os.close(reading)

    def command() -> None:
        try:
            os.write(writing, b"x")
        finally:
            os.close(writing)

    with pytest.raises(typer.Exit) as caught:
        explain(command)()
    assert caught.value.exit_code == 1
    assert capsys.readouterr().err == (
        "error: The system refused to read or write: Broken pipe. Expected a place that can be written, with room on "
        "the disk. Nothing that was finished is lost: mend it, and give the same command again.\n"
    )
