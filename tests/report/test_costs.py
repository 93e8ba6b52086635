from __future__ import annotations

import dataclasses

import pytest
from tests.report.sample import make_summary
from tests.report.study import BASE_BYTES, make_study

from polygraft.report.costs import MethodCost
from polygraft.report.joining import Run
from polygraft.report.methods import build_method_grids

STUDY = make_study()
COSTS = {row.method: row.cost for row in build_method_grids([Run(label="study", summary=STUDY)])[0].rows}


def cost_of(method: str) -> MethodCost:
    cost = COSTS[method]
    assert cost is not None
    return cost


def test_a_graft_is_stored_with_the_base_once_for_all_tasks():
    cost = cost_of("lora")
    size = 4 * 446_217 + 2048
    assert (cost.num_parameters, cost.num_bytes) == (446_217, size)
    assert cost.total_bytes == BASE_BYTES + 3 * size
    assert (cost.num_languages, cost.language_bytes) == (0, 0)
    assert not cost.is_copy


def test_language_grafts_come_on_top_and_are_counted_once():
    cost = cost_of("madx")
    task, language = 4 * 301_833 + 2048, 4 * 1_186_000 + 2048
    assert (cost.num_bytes, cost.language_bytes, cost.num_languages) == (task, language, 5)
    assert cost.total_bytes == BASE_BYTES + 3 * task + 5 * language
    assert cost.language_seconds == 5 * 812.0
    assert cost_of("lt-sft").num_languages == 5


def test_a_copy_a_task_is_stored_as_often_as_there_are_tasks_and_one_that_goes_on_once():
    copy = 4 * (117_653_760 + 3_465) + 2048
    assert (cost_of("full").total_bytes, cost_of("full").goes_on) == (3 * copy, False)
    assert (cost_of("sequential").total_bytes, cost_of("sequential").goes_on) == (copy, True)
    assert (cost_of("full").num_bytes, cost_of("sequential").num_bytes) == (copy, copy)


def test_times_are_means_over_the_seeds_and_memory_is_the_most():
    cost = cost_of("ia3")
    assert cost.seconds == pytest.approx(655.0 + 20)
    assert cost.tokens_per_second == 1410.0
    assert cost.peak_memory_above_start_bytes == 642_000_000


def test_a_sentence_takes_the_time_of_all_over_their_number():
    # Three seeds: Quechua has 310 sentences, the four others 1,004; each test takes 18.3 s, or 22.4 s over a language.
    num_sentences = 310 + 4 * 1004
    assert cost_of("lora").seconds_per_sentence == pytest.approx(5 * 18.3 / num_sentences)
    assert cost_of("madx").seconds_per_sentence == pytest.approx(5 * 22.4 / num_sentences)


def test_n_is_the_number_of_pairs_of_a_task_and_a_language():
    assert {cost.num_served for cost in COSTS.values() if cost is not None} == {5 + 3 + 3}


def test_a_packed_task_is_counted_without_those_below_it():
    grafts = {graft.name: graft for graft in STUDY.grafts}
    packed = [
        dataclasses.replace(grafts[f"{task}-lora"], num_bytes=size)
        for task, size in (("ner", 100), ("pos", 60))
    ]
    results = [
        dataclasses.replace(result, plan="stack(ner-lora, pos-lora)" if result.task == "pos" else "ner-lora")
        for result in STUDY.results
        if (result.method, result.seed) == ("lora", 0) and result.task in ("ner", "pos")
    ]
    summary = dataclasses.replace(STUDY, grafts=tuple(packed), results=tuple(results))
    ner, pos = build_method_grids([Run(label="packed", summary=summary)])
    for grid, size in ((ner, 100), (pos, 60)):
        cost = grid.rows[0].cost
        assert cost is not None
        assert (cost.num_bytes, cost.total_bytes) == (size, BASE_BYTES + 160)


def test_a_run_without_methods_has_the_cost_of_the_plan_that_it_is_known_by():
    [grid] = build_method_grids([Run(label="plain", summary=make_summary())])
    [row] = grid.rows
    assert row.method == "plain"
    assert row.cost is not None
    assert (row.cost.num_parameters, row.cost.num_languages) == (301_833, 5)


def test_without_its_grafts_nothing_is_said_of_cost():
    summary = dataclasses.replace(STUDY, grafts=())
    assert {row.cost for row in build_method_grids([Run(label="study", summary=summary)])[0].rows} == {None}
