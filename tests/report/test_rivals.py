from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET

import pytest
from tests.report.study import make_study

from polygraft.evaluate.contest import Contest
from polygraft.evaluate.holm import correct_holm
from polygraft.report.joining import Run
from polygraft.report.methods import build_method_grids
from polygraft.report.plots import NARROW, WIDE
from polygraft.report.rivals import list_close, list_rivals, plot_differences, rival_table

STUDY = make_study()
GRID = build_method_grids([Run(label="study", summary=STUDY)])[0]


def test_the_best_of_a_language_is_held_against_every_other_method():
    swahili = [rival for rival in list_rivals(GRID) if rival.language == "swa"]
    assert {rival.best for rival in swahili} == {"madx"}
    assert [rival.other for rival in swahili] == [row.method for row in GRID.rows if row.method != "madx"]
    assert all(rival.contest.gain <= 0 for rival in swahili)


def test_p_values_are_corrected_among_those_of_one_language():
    for language in GRID.languages:
        here = [rival for rival in list_rivals(GRID) if rival.language == language]
        assert [rival.p_value for rival in here] == correct_holm([rival.contest.p_value for rival in here])


def test_the_table_has_difference_interval_and_both_p_values():
    table = rival_table(GRID, ident="r")
    assert table is not None
    assert table.columns == ("Method", "English", "Quechua", "Hausa", "Swahili", "Yoruba")
    rows = {row[0].text: row for row in table.rows}
    assert (rows["madx"][4].text, rows["madx"][4].best) == ("best", True)
    contest = GRID.find_contest("swa", "head", "madx")
    assert contest is not None
    cell = rows["head"][4]
    low, high = (f"−{abs(100 * end):.1f}" for end in (contest.low, contest.high))
    assert cell.text == f"−{abs(100 * contest.gain):.1f}"
    assert cell.note == f"{low} to {high}\np 0.002, corrected 0.014"
    assert not cell.is_close


def test_what_chance_could_make_is_marked():
    table = rival_table(GRID, ident="r")
    assert table is not None
    marked = {
        (row[0].text, language)
        for row in table.rows
        for language, cell in zip(table.columns, row, strict=True)
        if cell.is_close
    }
    unclear = {
        (rival.other, name)
        for rival in list_rivals(GRID)
        for language, name in zip(GRID.languages, table.columns[1:], strict=True)
        if rival.language == language and (rival.p_value >= 0.05 or max(rival.contest.by_seed.values()) >= 0)
    }
    assert marked == unclear
    assert marked


def test_a_method_that_one_seed_puts_ahead_is_not_clearly_worse():
    def turn_one(contest: Contest) -> Contest:
        pair = {contest.method, contest.other_method}
        if contest.language != "swa" or pair != {"head", "madx"}:
            return contest
        return dataclasses.replace(contest, by_seed={**contest.by_seed, "2": -contest.by_seed["2"]})

    turned = dataclasses.replace(GRID, contests=tuple(map(turn_one, GRID.contests)))
    assert ("swa", "head") not in list_close(GRID)
    assert list_close(turned) == {*list_close(GRID), ("swa", "head")}
    table = rival_table(turned, ident="r")
    assert table is not None
    cell = {row[0].text: row for row in table.rows}["head"][4]
    assert cell.is_close
    assert (cell.note or "").endswith("p 0.002, corrected 0.014\nseeds disagree")


def test_without_contests_there_is_no_table():
    assert rival_table(dataclasses.replace(GRID, contests=()), ident="r") is None


def test_the_map_has_each_difference_of_means_twice_with_both_signs():
    svg = plot_differences(GRID, ident="d", width=WIDE)
    assert svg is not None
    hovers = [item.text or "" for item in ET.fromstring(svg).iter("title")]
    means = {row.method: row.mean.score for row in GRID.rows if row.mean is not None}
    gain = 100 * (means["madx"] - means["head"])
    assert f"madx against head: +{gain:.1f}" in hovers
    assert f"head against madx: −{gain:.1f}" in hovers
    assert "full against full: itself" in hovers
    classes = [item.get("class") for item in ET.fromstring(svg).iter("rect")]
    assert (classes.count("warmth"), classes.count("cold")) == (8 + 28, 28)


@pytest.mark.parametrize("count", [2, 17])
def test_a_map_that_says_nothing_or_too_much_is_not_drawn(count: int):
    rows = (GRID.rows * 3)[:count]
    assert plot_differences(dataclasses.replace(GRID, rows=rows), ident="d", width=NARROW) is None
