"""The tables of text losses, what is said of them, and the page's section."""

from __future__ import annotations

import dataclasses
import math

import pytest
from tests.report.sample import make_summary
from tests.report.texts import LANGUAGES, OWN, make_loss, make_losses

from polygraft.report.losses import call_losses, list_points, loss_table, own_table, say_correlation
from polygraft.report.page import render_report
from polygraft.report.summary import summary_from_json, summary_to_json


def test_grafts_stand_down_and_texts_across_with_the_best_of_each_text():
    table = loss_table(make_losses(), ident="a")
    assert table.columns == ("Graft", "English", "Quechua", "Hausa", "Yoruba")
    assert [row[0].text for row in table.rows] == ["base alone", "English", "Quechua", "Hausa", "Yoruba"]
    cells = {
        (row[0].text, name): cell for row in table.rows for name, cell in zip(table.columns, row, strict=True)
    }
    assert (cells["Quechua", "Quechua"].text, cells["Quechua", "Quechua"].note) == ("2.250", "+0.750")
    assert (cells["English", "Quechua"].text, cells["English", "Quechua"].note) == ("3.500", "\u22120.500")
    assert cells["base alone", "Hausa"].note == "2.900\u20133.100"
    assert [place for place, cell in cells.items() if cell.best] == [
        ("English", "English"),
        ("Quechua", "Quechua"),
        ("Hausa", "Hausa"),
        ("Hausa", "Yoruba"),
    ]


def test_an_own_graft_stands_beside_what_it_learned_from():
    table = own_table(make_losses(), ident="a")
    rows = {row[0].note: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert {key: cell.text for key, cell in rows["qu"].items()} == {
        "Language": "Quechua",
        "Text tokens": "20,000",
        "Tokens seen": "1,000,000",
        "Tokens per word": "1.50",
        "Single characters": "12 %",
        "Unknown": "0 %",
        "Base": "3.000",
        "Own graft": "2.250",
        "Gain": "+0.750",
        "Best graft": "its own",
    }
    assert rows["qu"]["Gain"].note == "+0.688 to +0.812"
    assert [language for language in LANGUAGES if rows[language]["Gain"].best] == ["en", "qu", "hau"]
    assert rows["yor"]["Best graft"].text == "Hausa"


def test_a_loss_that_is_no_number_is_no_best_one():
    losses = make_losses()
    broken = tuple(
        make_loss("qu", "qu", gain=math.nan) if (row.language, row.of) == ("qu", "qu") else row
        for row in losses.losses
    )
    spoilt = dataclasses.replace(losses, losses=broken)
    best = [row[0].text for row in loss_table(spoilt, ident="a").rows if row[2].best]
    assert best == ["base alone"]
    summary = dataclasses.replace(make_summary(), text_losses=(spoilt,))
    assert "not a number" in render_report(summary)


def test_a_text_that_was_not_measured_has_dashes():
    losses = make_losses()
    some = dataclasses.replace(losses, losses=tuple(row for row in losses.losses if row.language != "qu"))
    row = next(row for row in own_table(some, ident="a").rows if row[0].note == "qu")
    assert [cell.text for cell in row[6:]] == ["\u2013"] * 4
    assert [row.language for _, row in list_points(some, axis="text tokens").rows] == ["en", "hau", "yor"]


@pytest.mark.parametrize(
    ("axis", "sentence"),
    [
        # Gains: en 0.125, qu 0.75, hau 0.5, yor -0.25; ranks 2 4 3 1, of sizes 4 1 2 3, of tokens a word 1 2 3 4.
        ("text tokens", "Rank correlation of the gain with text tokens over 4 languages: -0.80."),
        ("tokens per word", "Rank correlation of the gain with tokens per word over 4 languages: -0.40."),
    ],
)
def test_whether_gains_go_with_a_text_is_said(axis: str, sentence: str):
    points = list_points(make_losses(), axis=axis)
    assert [row.gain for _, row in points.rows] == list(OWN.values())
    assert say_correlation(points) == sentence


def test_few_languages_have_no_correlation():
    losses = make_losses()
    some = dataclasses.replace(losses, texts=losses.texts[:3])
    assert say_correlation(list_points(some, axis="text tokens")) == (
        "These 3 languages do not say how the gain goes with text tokens: 4 or more would, in which both differ."
    )


def test_several_measurings_are_told_apart_by_method_and_seed():
    first, second = make_losses(), dataclasses.replace(make_losses(), method="lt-sft", seed=4)
    assert (call_losses(first), call_losses(second)) == ("seed 3", "lt-sft, seed 4")
    page = render_report(dataclasses.replace(make_summary(), text_losses=(first, second)))
    assert "<h3>lt-sft, seed 4</h3>" in page
    assert page.count('class="plot heat"') == 2 * 2 + page.count("Scores of ner by condition and language")
    assert "<h3>seed 3</h3>" not in render_report(dataclasses.replace(make_summary(), text_losses=(first,)))


def test_the_page_has_a_section_only_where_texts_were_measured():
    assert 'href="#texts"' not in render_report(make_summary())
    page = render_report(dataclasses.replace(make_summary(), text_losses=(make_losses(),)))
    assert 'href="#texts"' in page
    assert "Rank correlation of the gain with text tokens over 4 languages: -0.80." in page


def test_text_losses_come_back_from_json_as_they_went():
    summary = dataclasses.replace(make_summary(), text_losses=(make_losses(),))
    assert summary_from_json(summary_to_json(summary)) == summary
