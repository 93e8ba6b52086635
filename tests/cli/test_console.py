from __future__ import annotations

import pytest

from polygraft.cli.console import fail, show_table, write_json
from polygraft.report.cells import Cell, Table

TABLE = Table(
    ident="t",
    caption="Scores",
    columns=("Language", "F1"),
    numeric=(False, True),
    rows=((Cell(text="Quechua", note="qu"), Cell(text="71.2", best=True)), (Cell(text="en"), Cell(text="5"))),
)


def test_numbers_stand_on_the_right_and_no_line_ends_in_spaces(capsys: pytest.CaptureFixture[str]):
    show_table(TABLE)
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "Scores",
        "",
        " Language         F1",
        " ───────────────────",
        " Quechua (qu)   71.2",
        " en                5",
        "",
    ]


def test_a_table_beside_the_results_goes_to_standard_error(capsys: pytest.CaptureFixture[str]):
    show_table(TABLE, stderr=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Quechua (qu)" in captured.err


def test_json_keeps_every_letter(capsys: pytest.CaptureFixture[str]):
    write_json({"text": "ñuqa"})
    assert capsys.readouterr().out == '{\n  "text": "ñuqa"\n}\n'


def test_an_error_is_one_line_however_long(capsys: pytest.CaptureFixture[str]):
    fail("word " * 100 + "[bold].")
    assert capsys.readouterr().err == "error: " + "word " * 100 + "[bold].\n"
