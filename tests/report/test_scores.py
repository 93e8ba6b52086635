from __future__ import annotations

import dataclasses

import pytest
from tests.report.sample import make_gain, make_result, make_summary

from polygraft.report.scores import build_grids, compare, compare_target, find_source, order_conditions
from polygraft.report.summary import RunSummary


def with_results(*results: object) -> RunSummary:
    return dataclasses.replace(make_summary(), results=results)


def test_a_grid_has_the_source_first_and_knows_its_targets():
    grid = build_grids(dataclasses.replace(make_summary(), results=make_summary().results[::-1]))[0]
    assert grid.languages == ("en", "yor", "swa", "hau", "qu")
    assert grid.targets == ("yor", "swa", "hau", "qu")
    assert grid.conditions == ("task alone", "source", "target")


def test_the_target_is_compared_with_the_best_other_condition():
    compared = {c.language: c for c in compare_target(build_grids(make_summary())[0])}
    assert set(compared) == {"qu", "hau", "swa", "yor"}
    assert (compared["qu"].other, compared["yor"].other) == ("source", "task alone")
    assert compared["hau"].gain == pytest.approx(0.062)
    assert [compared[code].is_clear for code in ("qu", "hau", "swa", "yor")] == [False, True, False, False]


def test_a_missing_interval_leaves_it_unknown_whether_a_gain_is_clear():
    summary = with_results(
        make_result("hau", "source", score=0.4, half=None), make_result("hau", "target", score=0.5, half=0.01)
    )
    assert compare_target(build_grids(summary)[0])[0].is_clear is None


def test_intervals_that_touch_do_not_make_a_gain_clear():
    summary = with_results(
        make_result("hau", "source", score=0.25, half=0.125),
        make_result("hau", "target", score=0.5, half=0.125),
    )
    assert compare_target(build_grids(summary)[0])[0].is_clear is False


@pytest.mark.parametrize(
    ("halves", "is_clear"), [((0.05,), True), ((0.07,), False), ((0.05, 0.07), False), ((0.05, 0.06), True)]
)
def test_a_measured_gain_decides_whether_it_is_clear(halves: tuple[float, ...], is_clear: bool):
    gains = [make_gain("hau", "source", gain=0.062, half=half, seed=n) for n, half in enumerate(halves)]
    gains.append(make_gain("hau", "task alone", gain=0.087, half=0.5))
    grid = build_grids(dataclasses.replace(make_summary(), gains=tuple(gains)))[0]
    found = compare(grid, "hau", "source")
    assert found is not None
    assert found.is_clear is is_clear
    assert (found.low, found.high) == (pytest.approx(0.062 - max(halves)), pytest.approx(0.062 + max(halves)))


def test_a_lower_loss_is_better():
    results = [make_result("hau", c, score=s, half=0.1) for c, s in (("source", 4.5), ("target", 4.2))]
    grid = build_grids(with_results(*(dataclasses.replace(r, metric="loss") for r in results)))[0]
    assert grid.best("hau") == "target"
    assert compare_target(grid)[0].gain == pytest.approx(0.3)


def test_seeds_are_averaged_and_their_intervals_joined():
    seeds = [make_result("hau", "target", score=s, half=0.02, seed=n) for n, s in enumerate((0.5, 0.6))]
    cell = build_grids(with_results(*seeds))[0].cells["hau", "target"]
    assert (cell.score, cell.num_seeds) == (pytest.approx(0.55), 2)
    assert (cell.low, cell.high) == (pytest.approx(0.48), pytest.approx(0.62))


def test_a_score_that_is_no_number_is_never_best():
    results = [
        make_result("hau", c, score=s, half=None) for c, s in (("source", float("nan")), ("target", 0.1))
    ]
    grid = build_grids(with_results(*results))[0]
    assert grid.best("hau") == "target"
    assert compare_target(grid) == ()


def test_equal_scores_are_best_together():
    grid = build_grids(make_summary())[0]
    assert [c for c in grid.conditions if grid.is_best("en", c)] == ["source", "target"]


def test_the_source_is_found_in_the_plan_when_the_task_graft_has_no_language():
    summary = make_summary()
    grafts = tuple(dataclasses.replace(g, language=None) if g.role == "task" else g for g in summary.grafts)
    assert find_source(dataclasses.replace(summary, grafts=grafts), task="ner") == "en"


def test_the_source_is_found_in_the_results_when_there_are_no_grafts():
    assert find_source(dataclasses.replace(make_summary(), grafts=()), task="ner") == "en"


def test_unknown_conditions_follow_the_known_ones():
    assert order_conditions(["mixed", "target", "wrong", "none"]) == ("none", "target", "mixed", "wrong")


def test_controls_stand_before_the_source_and_the_target():
    asked = ["target", "average", "random", "source", "none"]
    assert order_conditions(asked) == ("none", "random", "average", "source", "target")


def test_a_piece_of_the_targets_graft_is_no_rival_of_it():
    scores = {"drop-last": 0.9, "no-invertible": 0.8, "random": 0.4, "source": 0.3, "target": 0.5}
    results = [make_result("hau", condition, score=score, half=None) for condition, score in scores.items()]
    grid = build_grids(with_results(*results))[0]
    (comparison,) = compare_target(grid)
    assert (comparison.other, comparison.gain) == ("random", 0.5 - 0.4)
    assert grid.best("hau") == "drop-last"
