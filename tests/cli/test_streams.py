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
