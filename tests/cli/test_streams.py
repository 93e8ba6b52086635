"""Commands whose standard input, output or error is closed, full, or ASCII: real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from polygraft.cli.streams import escape

FULL = (
    "error: The system refused to read or write: No space left on device. Expected a place that can be written, with "
    "room on the disk. Nothing that was finished is lost: mend it, and give the same command again.\n"
)
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")


def give(words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Give a command to a shell, with `polygraft` for the program."""
    program = f'polygraft() {{ "{sys.executable}" -m polygraft "$@"; }}; '
    return subprocess.run(
        ["/bin/sh", "-c", program + words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
        env={**os.environ, **variables},
    )


@pytest.mark.parametrize("file", ["", " -"])
def test_a_closed_input_is_a_sentence_where_text_was_expected(reader: Path, file: str):
    done = give(f"polygraft predict --plan ner{file} <&-")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: Standard input is closed, and neither --text nor a FILE says what to label. Expected text, a sentence "
        'a line. Give --text "...", a FILE, or a pipe.\n'
    )


@pytest.mark.parametrize("words", ["grafts list >&-", "--help >&-", "grafts list --store nowhere 2>&-"])
def test_what_goes_to_a_closed_stream_goes_nowhere(reader: Path, words: str):
    done = give(f"polygraft {words}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_full
@pytest.mark.parametrize("words", ["grafts list", "--help"])
def test_a_full_device_is_a_sentence(reader: Path, words: str):
    done = give(f"polygraft {words} >/dev/full")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", FULL)


def test_help_whose_reader_goes_away_is_no_error():
    done = give("{ sleep 0.2; polygraft --help; echo $? >&2; } | true")
    assert (done.returncode, done.stderr) == (0, "0\n")


def test_an_ascii_output_gets_json_and_tables_with_escapes(reader: Path):
    done = give("polygraft predict --plan ner --text 'ñuqa 𝄞' && polygraft bases", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout.isascii()) == (0, True)
    assert json.loads(done.stdout.splitlines()[0])["text"] == "ñuqa 𝄞"


def test_only_writing_is_escaped():
    error = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid")
    with pytest.raises(UnicodeDecodeError):
        escape(error)


TRAIN = "polygraft train tokens --name new --train tagged.conll --steps 3 --json"


def read_log(reader: Path) -> list[str]:
    """What a log tells, sentences with their words."""
    events = [json.loads(line) for line in (reader / "log.jsonl").read_text().splitlines()]
    return [event.get("sentence", event["event"]) for event in events]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "reason"),
    [
        pytest.param("2>/dev/full", "No space left on device", marks=needs_full),
        ("3>&1 >result 2>&3 | true", "Broken pipe"),
    ],
)
def test_a_training_goes_on_where_nothing_can_be_shown(reader: Path, where: str, reason: str):
    done = give(f"{{ {TRAIN} --log-json log.jsonl; echo $? >code; }} {where}")
    assert (reader / "code").read_text() == "0\n"
    assert done.stderr == ""
    told = read_log(reader)
    assert told[0] == "TrainStarted"
    assert told[-1] == "TrainFinished"
    assert told.count("TrainStep") == 3
    [sentence] = [each for each in told if each.startswith("Standard")]
    assert sentence == (
        f"Standard error cannot be written: {reason}. Expected a file with room, or a reader that stays to the end. "
        "Training goes on without showing how it goes; read it in this log."
    )


@pytest.mark.slow
def test_a_training_goes_on_where_nobody_reads_its_log(reader: Path):
    os.mkfifo(reader / "pipe")
    done = give(f"head -2 pipe >read & {TRAIN} --steps 200 --log-json pipe")
    assert done.returncode == 0
    assert json.loads(done.stdout)["version"] == 1
    events = [json.loads(line)["event"] for line in (reader / "read").read_text().splitlines()]
    assert events == ["TrainStarted", "TrainStep"]
    sentence = (
        "The log pipe cannot be written any more: Broken pipe. Expected a file with room, or a reader that stays to "
        "the end. Training goes on without it; give the next command another file with --log-json."
    )
    assert done.stderr.splitlines().count(sentence) == 2


def test_a_result_that_nobody_reads_is_no_error(reader: Path):
    done = give("{ sleep 0.2; polygraft grafts list --json; echo $? >&2; } | true")
    assert (done.returncode, done.stderr) == (0, "0\n")
    done = give("{ sleep 0.2; polygraft --version; echo $? >&2; } | true")
    assert (done.returncode, done.stderr) == (0, "0\n")


@needs_full
def test_an_error_that_cannot_be_told_has_its_exit_code(reader: Path):
    assert give("polygraft grafts show none 2>/dev/full").returncode == 1
    assert give("polygraft grafts list --store nowhere 2>/dev/full").returncode == 0
    assert give("polygraft --no-such-option 2>/dev/full").returncode == 2
