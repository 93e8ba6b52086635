"""What a run was made of stands in its page."""

from __future__ import annotations

import dataclasses
import json

from tests.report.sample import make_result, make_summary

from polygraft.report.page import render_report
from polygraft.report.provenance import data_table, name_notes, step_table
from polygraft.report.summary import DataSummary, StepSummary, summary_from_json, summary_to_json

DATA = (
    DataSummary(use="text", language="qu", file="qu.txt", sha256="a" * 64, digest="b" * 64),
    DataSummary(
        use="test", task="ner", source="en", language="qu", file="qu.conll", sha256="c" * 64, digest="d" * 64
    ),
)
STEPS = (StepSummary(name="task.ner", kind="task", digest="e" * 64), StepSummary(name="old", kind="task"))
SUMMARY = dataclasses.replace(make_summary(), data=DATA, steps=STEPS)


def test_every_file_stands_there_with_its_digest():
    table = data_table(DATA, ident="data")
    assert table is not None
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["qu.txt", "text", "–", "Quechua", "a" * 64],
        ["qu.conll", "test", "ner", "Quechua", "c" * 64],
    ]
    assert data_table((), ident="data") is None


def test_steps_stand_there_with_their_digests_where_these_are_known():
    table = step_table(STEPS, ident="steps")
    assert table is not None
    assert [[cell.text for cell in row] for row in table.rows] == [["task.ner", "e" * 64]]
    assert step_table(STEPS[1:], ident="steps") is None


def test_the_page_has_them_folded_and_an_older_run_has_none():
    page = render_report(SUMMARY)
    folded = page.partition("<summary>The digests of the data and of the steps</summary>")[2]
    assert "c" * 64 in folded.partition("</details>")[0]
    assert "The digests of the data" not in render_report(make_summary())


def test_a_run_of_before_is_read():
    assert summary_from_json(summary_to_json(SUMMARY)) == SUMMARY
    value = json.loads(summary_to_json(make_summary()))
    for key in ("data", "overlaps", "num_sittings"):
        del value[key]
    assert summary_from_json(json.dumps(value)) == make_summary()


def test_notes_name_the_test_that_they_are_about():
    note = "22 words lie past the base's longest input and got the label 'O'."
    results = [
        dataclasses.replace(make_result(language, "source", score=0.5, half=None), notes=(note,), source="en")
        for language in ("qu", "qu", "hau")
    ]
    assert name_notes(results) == (f"ner, Hausa test: {note}", f"ner, Quechua test: {note}")
