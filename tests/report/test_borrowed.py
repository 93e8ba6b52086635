"""What grafts of other languages are worth where a language has none."""

from __future__ import annotations

import dataclasses

from tests.report.sample import make_gain, make_result, make_summary

from polygraft.evaluate.gain import Gain
from polygraft.evaluate.overlap import Overlap
from polygraft.report.borrowed import borrowed_table, overlap_table, write_borrowed
from polygraft.report.page import render_report
from polygraft.report.scores import Grid, build_grids, compare_target
from polygraft.report.tables import gain_table

CONDITIONS = {"none": 0.24, "task alone": 0.25, "nearest": 0.262, "average": 0.236, "source": 0.24}
OVERLAPS = (
    Overlap(task="ner", source="en", language="yor", by_language={"en": 0.2, "swa": 0.45}),
    Overlap(task="ner", source="en", language="hau", by_language={"en": 0.31}),
)


def make(condition: str, other: str, *, gain: float, half: float) -> Gain:
    return dataclasses.replace(make_gain("yor", other, gain=gain, half=half), condition=condition)


GAINS = (
    make("nearest", "none", gain=0.022, half=0.01),
    make("nearest", "task alone", gain=0.012, half=0.02),
    make("average", "none", gain=-0.004, half=0.01),
    make("average", "task alone", gain=-0.014, half=0.01),
    make("source", "none", gain=0.0, half=0.005),
    make("source", "task alone", gain=-0.01, half=0.005),
)
SUMMARY = make_summary()
SUMMARY = dataclasses.replace(
    SUMMARY,
    results=(
        *(result for result in SUMMARY.results if result.language != "yor"),
        *(make_result("yor", name, score=score, half=0.02) for name, score in CONDITIONS.items()),
    ),
    gains=(make_gain("hau", "source", gain=0.062, half=0.07), *GAINS),
    overlaps=OVERLAPS,
)


def build() -> Grid:
    [grid] = build_grids(SUMMARY)
    return grid


def test_one_sentence_says_what_each_graft_gave_in_a_language_without_text():
    assert write_borrowed(build(), OVERLAPS) == (
        "For Yoruba, which has no text, the graft of the nearest language (Swahili) gave +2.2 (+1.2 to +3.2) over no "
        "language graft, the mean of all grafts −0.4 (−1.4 to +0.6) and the source’s graft 0.0 (−0.5 to +0.5).",
    )


def test_every_graft_stands_in_the_table_with_its_intervals():
    table = borrowed_table(build(), ident="b")
    assert table is not None
    assert table.columns == ("Language", "Graft", "Over none", "Over task alone")
    assert [[(cell.text, cell.note, cell.best) for cell in row[1:]] for row in table.rows] == [
        [("nearest", None, False), ("+2.2", "+1.2 to +3.2", True), ("+1.2", "−0.8 to +3.2", False)],
        [("average", None, False), ("−0.4", "−1.4 to +0.6", False), ("−1.4", "−2.4 to −0.4", False)],
        [("source", None, False), ("0.0", "−0.5 to +0.5", False), ("−1.0", "−1.5 to −0.5", False)],
    ]


def test_what_others_grafts_gain_is_not_told_of_the_targets():
    table = gain_table(build(), ident="g")
    assert table is not None
    assert [row[0].text for row in table.rows] == ["Hausa"]
    assert table.columns == ("Language", "Over source")
    assert "yor" not in {comparison.language for comparison in compare_target(build())}


def test_the_page_says_it_with_how_alike_the_texts_are():
    page = render_report(SUMMARY)
    assert "<p>For Yoruba, which has no text, the graft of the nearest language (Swahili) gave" in page
    table = overlap_table(OVERLAPS, build(), ident="o")
    assert table is not None
    assert table.columns == ("Test", "English", "Swahili")
    assert [[(cell.text, cell.best) for cell in row] for row in table.rows] == [
        [("Yoruba", False), ("0.200", False), ("0.450", True)],
        [("Hausa", False), ("0.310", True), ("–", False)],
    ]
    assert 'id="overlaps-0"' in page


def test_a_run_that_did_not_compare_says_nothing():
    [grid] = build_grids(make_summary())
    assert write_borrowed(grid, ()) == ()
    assert borrowed_table(grid, ident="b") is None
    assert overlap_table((), grid, ident="o") is None
