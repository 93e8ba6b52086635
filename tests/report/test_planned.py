"""What was expected beside what was taken."""

from __future__ import annotations

import dataclasses

from tests.report.sample import make_summary

from polygraft.report.page import render_report
from polygraft.report.planned import planned_table
from polygraft.report.summary import StepSummary, summary_from_json, summary_to_json

STEPS = (
    StepSummary(
        name="language.qu",
        kind="language",
        predicted_seconds=100.0,
        seconds=120.0,
        predicted_memory_bytes=900_000_000,
        memory_bytes=950_000_000,
        predicted_bytes=4_000,
        num_bytes=4_100,
    ),
    StepSummary(
        name="task.ner",
        kind="task",
        predicted_seconds=50.0,
        seconds=20.0,
        predicted_bytes=2_000,
        num_bytes=2_000,
        is_bound=True,
    ),
    StepSummary(name="evaluate.ner", kind="evaluate"),
)


def test_steps_that_were_done_are_laid_out():
    table = planned_table(STEPS)
    assert table is not None
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["language.qu", "1 min 40 s", "2 min", "1.20", "900 MB", "950 MB", "4.00 kB", "4.10 kB"],
        ["task.ner", "at most 50 s", "20 s", "0.40", "\u2013", "\u2013", "2.00 kB", "2.00 kB"],
    ]
    assert table.foot is not None
    assert [cell.text for cell in table.foot] == [
        "All",
        "2 min 30 s",
        "2 min 20 s",
        "0.93",
        "900 MB",
        "950 MB",
        "6.00 kB",
        "6.10 kB",
    ]


def test_nothing_is_laid_out_where_nothing_was_done():
    assert planned_table(STEPS[2:]) is None
    assert planned_table(()) is None


def test_the_page_ends_with_it_before_how_it_was_run():
    page = render_report(dataclasses.replace(make_summary(), steps=STEPS))
    assert page.index('id="planned-section"') < page.index('<section id="run"')
    assert '<a href="#planned-section">' in page
    assert "planned-section" not in render_report(make_summary())


def test_steps_are_read_as_they_were_written():
    summary = dataclasses.replace(make_summary(), steps=STEPS)
    assert summary_from_json(summary_to_json(summary)) == summary
