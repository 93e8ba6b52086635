"""The log of events."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
from datetime import datetime
from pathlib import Path

import pytest
from tests.train.material import make_training, run

from polygraft.errors import OptionError
from polygraft.recipe.log import EventLog, describe_step, open_log


def test_each_event_is_one_line_that_can_be_read_at_once(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    with open_log(path) as log:
        log.write("Noted", {"sentence": "Zwei\nZeilen ü", "path": Path("a")})
        [line] = path.read_text(encoding="utf-8").splitlines()
    found = json.loads(line)
    assert datetime.fromisoformat(found.pop("time")).tzinfo is not None
    assert found == {"event": "Noted", "sentence": "Zwei\nZeilen ü", "path": "a"}


def test_what_an_earlier_command_wrote_stays(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    for name in ("a", "b"):
        with open_log(path) as log:
            log.write(name, {})
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["a", "b"]


def test_a_line_that_a_killed_command_did_not_finish_does_not_swallow_the_next_event(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    with open_log(path) as log:
        log.write("whole", {})
    path.write_text(path.read_text() + '{"event": "TrainStep", "lo')
    for name in ("first", "second"):
        with open_log(path) as log:
            log.write(name, {})
    whole, torn, first, second = path.read_text().splitlines()
    assert torn == '{"event": "TrainStep", "lo'
    assert [json.loads(line)["event"] for line in (whole, first, second)] == ["whole", "first", "second"]


@pytest.mark.parametrize("text", ["", "{}\n"])
def test_a_log_that_is_whole_or_empty_gets_no_empty_line(text: str, tmp_path: Path):
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    with open_log(path) as log:
        log.write("a", {})
    assert path.read_text().startswith(text + "{")


def test_without_a_file_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with open_log(None) as log:
        log.write("Noted", {})
    EventLog(None).write("Noted", {})
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path):
    path = tmp_path / "none" / "log.jsonl"
    with pytest.raises(OptionError) as caught, open_log(path):
        pass
    assert str(caught.value) == (
        f"The log {path} cannot be written: No such file or directory. A file in a folder that is there and may be "
        "written was expected. Make the folder, or give another file to --log-json."
    )


def test_a_step_is_told_in_numbers():
    training = make_training("mlm", steps=2, evaluate=lambda attachment: -3.5)
    first, _ = run(training)
    found = describe_step(first)
    assert found == {
        "step": 1,
        "total": 2,
        "loss": first.loss,
        "lr": first.lr,
        "plan": "new",
        "tokens": first.num_tokens,
        "seconds": first.seconds,
        "scoring_seconds": first.scoring_seconds,
        "tokens_per_second": first.num_tokens / (first.seconds - first.scoring_seconds),
        "held_out": 3.5,
        "is_best": True,
        "peak_memory_bytes": first.peak_memory_bytes,
        "seconds_left": pytest.approx(first.seconds),
    }


def test_a_step_on_a_gpu_tells_its_memory():
    [step] = run(make_training("mlm", steps=1))
    assert "peak_device_memory_bytes" not in describe_step(step)
    on_gpu = dataclasses.replace(step, peak_device_memory_bytes=7)
    assert describe_step(on_gpu) == {**describe_step(step), "peak_device_memory_bytes": 7}


class Full(io.StringIO):
    """A file on a disk that has room for some lines."""

    name = "full.jsonl"

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def flush(self) -> None:
        if self.getvalue().count("\n") > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_that_cannot_be_written_any_more_says_which_and_takes_no_more():
    file = Full(room=2)
    log = EventLog(file)
    log.write("first", {})
    log.write("second", {})
    with pytest.raises(OSError, match="No space left on device") as caught:
        log.write("third", {})
    assert (caught.value.filename, caught.value.strerror) == ("full.jsonl", "No space left on device")
    assert file.closed
    log.write("fourth", {})
    assert log.file is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_log_on_a_full_disk_can_be_closed():
    with open_log(Path("/dev/full")) as log, pytest.raises(OSError, match="No space left") as caught:
        log.write("first", {})
    assert caught.value.filename == "/dev/full"
