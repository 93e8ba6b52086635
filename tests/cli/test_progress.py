from __future__ import annotations

import re

import pytest

from polygraft.cli import progress
from polygraft.cli.progress import LiveDisplay, PlainDisplay, fit_numbers, list_numbers
from polygraft.train.step import Step


def step(number: int, *, held_out: float | None = None) -> Step:
    return Step(
        number=number,
        total=10,
        loss=2.5,
        lr=0.1,
        plan="ner",
        num_tokens=100,
        seconds=number / 10,
        tokens=100 * number,
        held_out=held_out,
        is_best=False,
        peak_memory_bytes=435_000_000,
    )


def test_a_step_is_described_by_loss_score_rate_memory_and_time_left():
    assert list_numbers(step(1), held_out=None) == {
        "loss": "loss 2.500",
        "rate": "1,000 tokens/s",
        "memory": "435 MB",
        "left": "0.9 s left",
    }
    short = list_numbers(step(1), held_out=-3.25, is_short=True)
    assert (short["loss"], short["dev"], short["left"]) == ("loss 2.50", "dev 3.25", "0:01 left")


NUMBERS = list_numbers(step(1), held_out=0.5, is_short=True)


@pytest.mark.parametrize(
    ("room", "line"),
    [
        (54, "loss 2.50, dev 0.50, 1,000 tokens/s, 435 MB, 0:01 left"),
        (53, "loss 2.50, dev 0.50, 1,000 tokens/s, 0:01 left"),
        (45, "loss 2.50, dev 0.50, 0:01 left"),
        (29, "loss 2.50, 0:01 left"),
        (19, "0:01 left"),
        (-5, "0:01 left"),
    ],
)
def test_a_narrow_terminal_shows_what_is_needed_most(room: int, line: str):
    assert fit_numbers(NUMBERS, room=room) == line


@pytest.mark.parametrize("width", [40, 50, 60, 80, 100, 140])
def test_a_bar_stays_on_one_line_and_shows_the_time_left(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    with LiveDisplay() as display:
        display.begin("Training ...", name="a-graft-with-a-long-name")
        display.advance(step(3, held_out=0.5))
        display.progress.refresh()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    bars = [line.strip() for line in re.split(r"[\r\n]", text) if " 3/10" in line]
    assert bars
    assert len(bars[-1]) <= width
    assert bars[-1].endswith("0:01 left")
    assert ("435 MB" in bars[-1]) is (width >= 100)
    assert ("loss 2.50, dev 0.50, 1,000 tokens/s" in bars[-1]) is (width >= 100)


def test_without_a_terminal_lines_come_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    times = iter([0.0, 1.0, 6.0, 7.0, 20.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    with PlainDisplay() as display:
        display.begin("Training 'ner' ...", name="ner")
        for number, held_out in ((1, None), (2, 0.5), (3, None), (4, None)):
            display.advance(step(number, held_out=held_out))
        display.end("ner: done")
    assert capsys.readouterr().err.splitlines() == [
        "Training 'ner' ...",
        "ner: step 2 of 10, loss 2.500, dev 0.500, 1,000 tokens/s, 435 MB, 0.8 s left",
        "ner: step 4 of 10, loss 2.500, dev 0.500, 1,000 tokens/s, 435 MB, 0.6 s left",
        "ner: done",
    ]


def test_a_live_display_leaves_titles_and_ends(capsys: pytest.CaptureFixture[str]):
    with LiveDisplay() as display:
        display.begin("Training 'ner' ...", name="ner")
        display.advance(step(1, held_out=0.5))
        display.note("The base is unchanged, bit for bit.")
        display.end("ner: done")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.strip() for line in captured.err.splitlines() if line.strip()] == [
        "Training 'ner' ...",
        "The base is unchanged, bit for bit.",
        "✓ ner: done",
    ]
