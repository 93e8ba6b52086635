from __future__ import annotations

import dataclasses
import statistics
import xml.etree.ElementTree as ET

import pytest
from tests.report.sample import make_summary
from tests.report.study import LOST, SEEDS, TESTS, make_study, score_of, wobble

from polygraft.evaluate.result import Result
from polygraft.report.forgetting import (
    forgetting_table,
    list_forgotten,
    matrix_table,
    plot_matrix,
    say_same,
)
from polygraft.report.plots import NARROW

STUDY = make_study()
FORGOTTEN = {each.method: each for each in list_forgotten(STUDY)}


def mean_of(task: str) -> float:
    return statistics.fmean(
        statistics.fmean(
            score_of("sequential", task, language, "task alone", seed) for language in TESTS[task]
        )
        for seed in SEEDS
    )


def lost_of(task: str, place: int, later: str) -> float:
    return LOST[task][place] + statistics.fmean(
        statistics.fmean(0.01 * wobble(language, seed, later) for language in TESTS[task]) for seed in SEEDS
    )


def test_the_matrix_has_each_tasks_mean_after_each_task():
    found = FORGOTTEN["sequential"]
    assert (found.tasks, found.stages) == (("ner", "pos", "topic"), ("ner", "pos", "topic"))
    ner, pos, topic = (mean_of(task) for task in TESTS)
    expected = (
        (ner, ner - lost_of("ner", 0, "pos"), ner - lost_of("ner", 1, "topic")),
        (None, pos, pos - lost_of("pos", 1, "topic")),
        (None, None, topic),
    )
    for line, scores in zip(found.matrix, expected, strict=True):
        assert line == tuple(None if score is None else pytest.approx(score) for score in scores)


def test_measures_are_means_over_the_seeds():
    found = FORGOTTEN["sequential"]
    expected = (lost_of("ner", 1, "topic") + lost_of("pos", 1, "topic")) / 2
    assert len(found.averages) == 3
    assert found.average == pytest.approx(expected)
    assert found.transfer == pytest.approx(-expected)


def test_only_equal_digests_say_that_nothing_changed():
    # Five languages of ner after two tasks, three of pos after one, three seeds.
    assert say_same(FORGOTTEN["lora"]) == "39 of 39"
    assert (FORGOTTEN["lora"].is_same, FORGOTTEN["lora"].average) == (True, 0.0)
    assert say_same(FORGOTTEN["sequential"]) == "0 of 39"
    blind = dataclasses.replace(
        STUDY, rechecks=tuple(dataclasses.replace(result, predictions="") for result in STUDY.rechecks)
    )
    lora = next(each for each in list_forgotten(blind) if each.method == "lora")
    assert (lora.is_same, say_same(lora)) == (None, "not known")


def test_the_table_has_a_row_a_method():
    table = forgetting_table(list_forgotten(STUDY), ident="f")
    assert table is not None
    rows = {row[0].text: row for row in table.rows}
    found = FORGOTTEN["sequential"]
    assert [cell.text for cell in rows["sequential"][1:]] == [
        f"+{100 * found.average:.1f}",
        f"−{100 * found.average:.1f}",
        "0 of 39",
    ]
    assert rows["sequential"][1].note == f"± {100 * statistics.stdev(found.averages):.1f}"
    assert [cell.text for cell in rows["madx"][1:]] == ["0.0", "0.0", "39 of 39"]


def test_a_run_that_scored_nothing_again_has_nothing_to_show():
    assert list_forgotten(make_summary()) == ()
    assert forgetting_table((), ident="f") is None


def test_the_matrix_is_shown_as_a_table_and_as_a_map():
    found = FORGOTTEN["sequential"]
    table = matrix_table(found, ident="m")
    assert table.columns == ("Task", "After ner", "After pos", "After topic")
    assert [cell.text for cell in table.rows[2]] == ["topic", "–", "–", f"{100 * mean_of('topic'):.1f}"]
    root = ET.fromstring(plot_matrix(found, ident="m", width=NARROW))
    cells = [item for item in root.iter("rect") if item.get("class") == "warmth"]
    assert len(cells) == 6
    assert (root[1].text or "").startswith(f"ner: {100 * mean_of('ner'):.1f} after ner, ")


def test_sources_of_one_task_are_told_apart():
    def move(result: Result) -> Result:
        return dataclasses.replace(result, task="ner", source="swa") if result.task == "pos" else result

    summary = dataclasses.replace(
        STUDY, results=tuple(map(move, STUDY.results)), rechecks=tuple(map(move, STUDY.rechecks))
    )
    found = next(each for each in list_forgotten(summary) if each.method == "sequential")
    assert found.tasks == ("ner from English", "ner from Swahili", "topic")
    assert found.average == pytest.approx(FORGOTTEN["sequential"].average)
