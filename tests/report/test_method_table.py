from __future__ import annotations

import dataclasses
import statistics

import pytest
from tests.report.study import SEEDS, make_study

from polygraft.report.joining import Run
from polygraft.report.method_table import COSTS, explain_costs, method_table
from polygraft.report.methods import build_method_grids
from polygraft.report.rivals import list_close, rival_table
from polygraft.report.spreads import Spread, format_spread

STUDY = make_study()
GRIDS = build_method_grids([Run(label="study", summary=STUDY)])
TABLE = method_table(GRIDS[0], ident="m")
ROWS = {row[0].text: row for row in TABLE.rows if not row[0].is_under}


def test_there_is_a_row_a_method_with_its_conditions_under_it():
    names = [row[0].text for row in TABLE.rows]
    assert names[4:9] == ["madx", "none", "source", "target", "lora"]
    assert [row[0].is_under for row in TABLE.rows[4:9]] == [False, True, True, True, False]
    assert TABLE.columns == (
        "Method",
        "English",
        "Quechua",
        "Hausa",
        "Swahili",
        "Yoruba",
        "Mean of the targets",
        *COSTS,
    )
    assert {len(row) for row in TABLE.rows} == {len(TABLE.columns)} == {len(TABLE.numeric)}


def test_scores_stand_with_their_deviation_over_the_seeds():
    row = next(row for row in GRIDS[0].rows if row.method == "lora")
    cell, spread = ROWS["lora"][3], row.cells["hau"]
    score = 100 * spread.score
    assert (cell.text, cell.note) == (
        f"{score:.1f}",
        f"± {100 * (spread.deviation or 0):.1f}\n{score - 2.1:.1f}–{score + 2:.1f}",
    )


def test_a_mean_over_languages_has_deviation_and_interval():
    row = next(row for row in GRIDS[0].rows if row.method == "lora")
    by_seed = [
        [
            r.score
            for r in STUDY.results
            if (r.method, r.task, r.seed) == ("lora", "ner", seed) and r.language != "en"
        ]
        for seed in SEEDS
    ]
    deviation = statistics.stdev(statistics.fmean(scores) for scores in by_seed)
    score = statistics.fmean(score for scores in by_seed for score in scores)
    # Four independent means, each with the same ends: these are half as far away.
    assert row.mean is not None
    assert (row.mean.low, row.mean.high) == pytest.approx((score - 0.0105, score + 0.01))
    assert ROWS["lora"][6].note == (
        f"± {100 * deviation:.1f}\n{100 * score - 1.05:.1f}–{100 * score + 1:.1f}"
    )


def test_an_older_run_of_several_seeds_has_deviations_alone():
    [grid, *_] = build_method_grids([Run(label="study", summary=dataclasses.replace(STUDY, means=()))])
    row = next(row for row in method_table(grid, ident="m").rows if row[0].text == "lora")
    spread = next(row for row in grid.rows if row.method == "lora").cells["hau"]
    assert row[3].note == f"± {100 * (spread.deviation or 0):.1f}"


def test_the_best_of_each_column_is_marked_and_what_is_close_to_it():
    for place, language in enumerate(GRIDS[0].languages, start=1):
        best = GRIDS[0].best(language)
        assert best is not None
        assert [name for name, row in ROWS.items() if row[place].best] == [best.method]
        close = [name for name, row in ROWS.items() if row[place].is_close]
        expected = [name for name in ROWS if (language, name) in list_close(GRIDS[0])]
        assert close == expected
    assert [name for name, row in ROWS.items() if row[6].best] == ["madx"]
    assert not any(cell.best or cell.is_close for row in TABLE.rows if row[0].is_under for cell in row)


def test_both_tables_dot_the_same_methods():
    for grid in GRIDS:
        methods, rivals = method_table(grid, ident="m"), rival_table(grid, ident="r")
        assert rivals is not None
        rows = [row for row in methods.rows if not row[0].is_under]
        width = len(rivals.columns)
        dotted = [[cell.is_close for cell in row[:width]] for row in rows]
        assert dotted == [[cell.is_close for cell in row] for row in rivals.rows]
        assert any(map(any, dotted))


def test_costs_stand_beside_the_scores():
    assert [(cell.text, cell.note) for cell in ROWS["madx"][7:]] == [
        ("301,833", "+ 1.19 million\na language"),
        ("1.21 MB", "+ 4.75 MB\na language"),
        ("498 MB", None),
        ("11 min 15 s", "+ 1 h 8 min for\n5 languages"),
        ("1,410", None),
        ("642 MB", None),
        ("25.9 ms", None),
    ]
    assert [(cell.text, cell.note) for cell in ROWS["sequential"][8:10]] == [
        ("471 MB", None),
        ("471 MB", "one copy"),
    ]
    assert ROWS["full"][9].text == "1.41 GB"


def test_one_language_has_no_mean():
    results = tuple(result for result in STUDY.results if result.language == "en")
    summary = dataclasses.replace(STUDY, results=results)
    [grid, *_] = build_method_grids([Run(label="study", summary=summary)])
    assert method_table(grid, ident="m").columns == ("Method", "English", *COSTS)
    assert grid.targets == ("en",)


def test_a_spread_is_a_deviation_or_an_interval_or_both_or_nothing():
    assert format_spread(Spread(score=0.5, deviation=0.0123, num_seeds=3), metric="f1") == "± 1.2"
    assert format_spread(Spread(score=0.5, low=0.45, high=0.56, num_seeds=1), metric="f1") == "45.0–56.0"
    assert format_spread(Spread(score=0.5, num_seeds=1), metric="f1") is None
    both = Spread(score=0.5, deviation=0.0123, low=0.45, high=0.56, num_seeds=3)
    assert format_spread(both, metric="f1") == "± 1.2, 45.0–56.0"


def test_the_words_say_what_n_is():
    words = explain_costs(GRIDS)
    assert "all N = 11 pairs of a task and a test language of the run" in words
    assert "‘sequential’ keeps one copy for all tasks, as it is after the last one" in words
