"""What tasks that share one set of weights took, in the table, the picture and the words."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET

import pytest
from tests.report.sample import make_graft, make_summary

from polygraft.report.packed import list_packed, packed_table, plot_packed
from polygraft.report.page import render_report
from polygraft.report.summary import (
    GraftSummary,
    PackedSummary,
    RunSummary,
    summary_from_json,
    summary_to_json,
)
from polygraft.report.tables import storage_table
from polygraft.report.words import write_headline, write_paragraph


def make_packed(name: str, *, own: int, left: float) -> GraftSummary:
    packed = PackedSummary(own=own, total=5376, left=left)
    return dataclasses.replace(make_graft(name, role="task", language="en"), packed=packed)


NER, POS = make_packed("ner", own=2688, left=0.5), make_packed("pos", own=1344, left=0.25)
# The store may find the later one first.
GRAFTS = (POS, make_graft("en", role="language"), NER)


def make_run(*grafts: GraftSummary) -> RunSummary:
    return dataclasses.replace(make_summary(), grafts=grafts, results=())


def test_the_table_has_a_row_a_task_in_the_order_of_packing():
    table = packed_table(GRAFTS)
    assert table is not None
    assert (table.caption, table.columns) == (
        "Packed into one set of weights",
        ("Task", "Own weights", "Of all", "Left"),
    )
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["ner", "2,688", "50 %", "50 %"],
        ["pos", "1,344", "25 %", "25 %"],
    ]
    assert [[cell.value for cell in row[1:]] for row in table.rows] == [[2688, 0.5, 0.5], [1344, 0.25, 0.25]]


def draw(width: int, *grafts: GraftSummary) -> ET.Element:
    drawn = plot_packed(grafts, ident="p", width=width)
    assert drawn is not None
    return ET.fromstring(drawn)


@pytest.mark.parametrize(("width", "start", "end"), [(912, 172, 808), (328, 0, 328)])
def test_each_task_has_a_bar_of_all_weights(width: int, start: float, end: float):
    root = draw(width, *GRAFTS)
    bars = [
        [
            (bar.get("class"), float(bar.get("x") or 0), float(bar.get("width") or 0))
            for bar in row.iter("rect")
        ]
        for row in root.iter("g")
    ]
    whole = end - start
    assert bars == [
        [("own", start, whole / 2), ("free", start + whole / 2, whole / 2)],
        [
            ("below", start, whole / 2),
            ("own", start + whole / 2, whole / 4),
            ("free", start + whole * 3 / 4, whole / 4),
        ],
    ]
    assert [text.text for text in root.iter("text")] == ["ner", "50 % left", "pos", "25 % left"]
    assert root[1].text == (
        "ner took 50 % of 5,376 weights, and 50 % were left. pos took 25 % of 5,376 weights, and 25 % were left."
    )


def test_a_long_name_is_cut_where_it_has_no_room():
    name = "names-of-people-and-places-and-organisations"
    for width, shown in (
        (912, "names-of-people-and-p\u2026"),
        (328, "names-of-people-and-places-and\u2026"),
    ):
        assert next(draw(width, make_packed(name, own=2688, left=0.5)).iter("text")).text == shown


def test_a_task_that_takes_all_leaves_no_bar():
    root = draw(912, make_packed("ner", own=5376, left=0.0))
    assert [bar.get("class") for bar in root.iter("rect")] == ["own"]


def test_without_packed_tasks_there_is_nothing_to_show():
    grafts = (make_graft("ner", role="task"),)
    assert (list_packed(grafts), packed_table(grafts)) == ([], None)
    assert plot_packed(grafts, ident="p", width=912) is None
    page = render_report(make_run(*grafts))
    assert 'id="packing"' not in page and "#packing" not in page


def test_the_page_has_a_section():
    page = render_report(make_run(*GRAFTS))
    assert '<section id="packing"' in page and '<a href="#packing">Packing</a>' in page
    for ident in ("packed-912-title", "packed-328-title", "packed-caption"):
        assert page.count(f'id="{ident}"') == 1


@pytest.mark.parametrize(
    ("grafts", "headline", "sentence"),
    [
        (
            GRAFTS,
            "Two tasks in one set of weights, 25 % left",
            "Of 5,376 weights, ‘ner’ took 50 % and ‘pos’ took 25 %; 25 % left for later tasks.",
        ),
        (
            (make_packed("ner", own=5376, left=0.0),),
            "One task in one set of weights, nothing left",
            "Of 5,376 weights, ‘ner’ took 100 %; nothing left for later tasks.",
        ),
    ],
)
def test_the_words_say_what_is_left(grafts: tuple[GraftSummary, ...], headline: str, sentence: str):
    run = make_run(*grafts)
    assert write_headline(run) == headline
    paragraph = write_paragraph(run)
    assert sentence in paragraph
    assert "No scores were recorded, so nothing can be said about transfer." not in paragraph


def test_the_cost_of_one_more_task_is_not_told_where_it_depends_on_the_room():
    assert storage_table(GRAFTS, base=make_summary().base) is None
    assert write_paragraph(make_run(*GRAFTS))[-1] == (
        "The grafts take 7.16 MB, 1.5 % of a full copy of the base."
    )


def test_what_was_packed_comes_back_from_json():
    run = make_run(*GRAFTS)
    assert summary_from_json(summary_to_json(run)) == run
