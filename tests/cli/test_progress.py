from __future__ import annotations

import pytest

from polygraft.cli import progress
from polygraft.cli.progress import LiveDisplay, PlainDisplay, describe_step
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


def test_a_step_is_described_by_loss_score_rate_and_memory():
    assert describe_step(step(1), held_out=None) == "loss 2.500, 1,000 tokens/s, 435 MB"
    assert describe_step(step(1), held_out=-3.25) == "loss 2.500, dev 3.250, 1,000 tokens/s, 435 MB"


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
