from __future__ import annotations

import dataclasses
import math
import statistics

import pytest
from tests.report.sample import make_result as make_plain_result
from tests.report.sample import make_summary
from tests.report.study import SEEDS, make_study, score_of

from polygraft.report.joining import Run, list_empty
from polygraft.report.method_table import method_table
from polygraft.report.methods import build_method_grids, is_compared
from polygraft.report.rivals import list_rivals
from polygraft.report.scores import build_grids
from polygraft.report.spreads import Spread, average
from polygraft.report.summary import RunSummary
from polygraft.report.tables import transfer_table

STUDY = make_study()


def grids_of(summary: RunSummary):
    return build_method_grids([Run(label=summary.name, summary=summary)])


NER = grids_of(STUDY)[0]


def test_there_is_a_grid_for_each_task_with_the_source_first():
    found = [(grid.title, grid.metric, grid.languages, grid.targets) for grid in grids_of(STUDY)]
    assert found == [
        ("ner", "f1", ("en", "qu", "hau", "swa", "yor"), ("qu", "hau", "swa", "yor")),
        ("pos", "accuracy", ("en", "hau", "yor"), ("hau", "yor")),
        ("topic", "accuracy", ("en", "hau", "swa"), ("hau", "swa")),
    ]


def test_two_sources_of_a_task_are_not_mixed():
    again = tuple(
        dataclasses.replace(result, source="swa", score=0.9)
        for result in STUDY.results
        if result.task == "pos"
    )
    grids = grids_of(dataclasses.replace(STUDY, results=(*STUDY.results, *again)))
    assert [grid.title for grid in grids] == ["ner", "pos from English", "topic", "pos from Swahili"]
    assert grids[1].rows[0].cells["hau"].score != 0.9
    assert grids[3].rows[0].cells["hau"].score == pytest.approx(0.9)


def test_a_method_is_known_by_the_last_condition_of_each_language():
    row = next(row for row in NER.rows if row.method == "madx")
    for language, condition in (("en", "source"), ("yor", "target")):
        scores = [score_of("madx", "ner", language, condition, seed) for seed in SEEDS]
        assert row.cells[language].score == pytest.approx(statistics.fmean(scores))
        assert row.cells[language].deviation == pytest.approx(statistics.stdev(scores))
    assert [each.condition for each in NER.conditions["madx"]] == ["none", "source", "target"]
    assert "lora" not in NER.conditions


def test_the_mean_over_the_targets_is_taken_seed_by_seed():
    row = next(row for row in NER.rows if row.method == "lora")
    means = [
        statistics.fmean(score_of("lora", "ner", language, "task alone", seed) for language in NER.targets)
        for seed in SEEDS
    ]
    assert row.mean is not None
    assert row.mean.score == pytest.approx(statistics.fmean(means))
    assert row.mean.deviation == pytest.approx(statistics.stdev(means))
    assert row.mean.num_seeds == 3


def test_a_language_that_is_missing_leaves_the_mean_open():
    results = tuple(r for r in STUDY.results if (r.method, r.language) != ("lora", "yor"))
    grid = grids_of(dataclasses.replace(STUDY, results=results))[0]
    assert next(row for row in grid.rows if row.method == "lora").mean is None


def test_with_one_seed_the_intervals_of_the_languages_make_that_of_the_mean():
    first, second = (
        Spread(score=0.4, low=0.34, high=0.5, num_seeds=1),
        Spread(score=0.6, low=0.52, high=0.6, num_seeds=1),
    )
    found = average([first, second], [[0.4, 0.6]])
    # Below: sqrt(0.06^2 + 0.08^2) / 2 = 0.05; above: sqrt(0.1^2 + 0^2) / 2 = 0.05.
    assert (found.score, found.low, found.high) == (
        pytest.approx(0.5),
        pytest.approx(0.45),
        pytest.approx(0.55),
    )
    open_ended = average([first, Spread(score=0.6, num_seeds=1)], [[0.4, 0.6]])
    assert (open_ended.score, open_ended.low, open_ended.ends) == (0.5, None, None)


def test_the_mean_of_independent_scores_has_the_interval_that_drawing_gives():
    """With ends at 1.96 deviations the square-and-add way is that of a normal sum."""
    deviations = (0.01, 0.02, 0.04)
    spreads = [
        Spread(score=0.5, low=0.5 - 1.96 * each, high=0.5 + 1.96 * each, num_seeds=1) for each in deviations
    ]
    found = average(spreads, [[0.5, 0.5, 0.5]])
    assert found.high == pytest.approx(0.5 + 1.96 * math.sqrt(sum(each**2 for each in deviations)) / 3)


def test_the_best_is_found_by_language():
    best = NER.best("swa")
    assert best is not None
    assert best.method == "madx"


def test_a_contest_can_be_read_from_both_sides():
    one, two = NER.find_contest("qu", "full", "lora"), NER.find_contest("qu", "lora", "full")
    assert one is not None
    assert two is not None
    assert (two.gain, two.low, two.high) == (-one.gain, -one.high, -one.low)
    assert (two.method, two.other_method, two.p_value) == ("lora", "full", one.p_value)
    assert two.by_seed == {seed: -gain for seed, gain in one.by_seed.items()}
    assert NER.find_contest("qu", "lora", "lora") is None


def test_a_score_that_is_no_number_is_never_best():
    results = tuple(
        dataclasses.replace(r, score=float("nan")) if r.method == "madx" else r for r in STUDY.results
    )
    grid = grids_of(dataclasses.replace(STUDY, results=results))[0]
    best = grid.best("swa")
    assert best is not None
    assert best.method != "madx"


def test_a_run_without_methods_is_not_compared_alone_but_beside_another():
    summary = dataclasses.replace(
        make_summary(), results=(make_plain_result("hau", "target", score=0.5, half=0.02),)
    )
    run = Run(label="one", summary=summary)
    assert not is_compared([run])
    assert is_compared([run, Run(label="two", summary=summary)])
    assert is_compared([Run(label="study", summary=STUDY)])


def test_a_language_with_nothing_to_find_is_in_no_mean_and_no_comparison():
    results = tuple(
        dataclasses.replace(r, score=0.0, num_gold=0) if (r.task, r.language) == ("ner", "yor") else r
        for r in STUDY.results
    )
    summary = dataclasses.replace(STUDY, results=results)
    grid = grids_of(summary)[0]
    assert (grid.empty, grid.targets) == (("yor",), ("qu", "hau", "swa"))
    row = next(row for row in grid.rows if row.method == "lora")
    assert row.mean is not None
    assert row.mean.score == pytest.approx(
        statistics.fmean(
            score_of("lora", "ner", language, "task alone", seed)
            for language in ("qu", "hau", "swa")
            for seed in SEEDS
        )
    )
    assert {rival.language for rival in list_rivals(grid)} == {"en", "qu", "hau", "swa"}
    table = method_table(grid, ident="m")
    assert {(row[5].text, row[5].note) for row in table.rows} == {("–", "nothing to find")}
    transfer = transfer_table(build_grids(summary)[0], ident="t")
    assert transfer.foot is not None
    assert transfer.foot[0].note != "4 languages"
    assert list_empty([Run(label="study", summary=summary)]) == (
        "Left out of means and comparisons, as there is nothing to find: ner in Yoruba.",
    )
    assert list_empty([Run(label="study", summary=STUDY)]) == ()
    assert grids_of(dataclasses.replace(STUDY, results=tuple(r for r in results if r.language == "yor")))[
        0
    ].targets == ("yor",)
