"""Runs that trained one method with different seeds are shown as one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from tests.report.study import SEEDS, TESTS, make_study

from polygraft.report.joining import Run
from polygraft.report.methods import build_method_grids
from polygraft.report.page import render_joined
from polygraft.report.same_method import join_seeds
from polygraft.report.summary import StepSummary


def make_run(
    label: str, methods: tuple[str, ...], seeds: tuple[int, ...] = SEEDS, *, family: str = "f"
) -> Run:
    """Give a run as a newer version writes it: with the steps that trained its tasks."""
    whole = make_study(methods)
    steps = [
        StepSummary(
            name=f"{method}.task.{task}",
            kind="task",
            family=f"{family}-{method}-{task}",
            method=method,
            seed=seed,
            task=task,
            source="en",
        )
        for method in methods
        for task in TESTS
        for seed in seeds
    ]
    return Run(
        label=label,
        summary=dataclasses.replace(
            whole,
            results=tuple(result for result in whole.results if result.seed in seeds),
            gains=tuple(gain for gain in whole.gains if gain.seed in seeds),
            grafts=tuple(graft for graft in whole.grafts if graft.seed in (None, *seeds)),
            steps=tuple(steps),
            means=(),
            contests=(),
            rechecks=(),
        ),
    )


def change(run: Run, **changes: Any) -> Run:
    return dataclasses.replace(run, summary=dataclasses.replace(run.summary, **changes))


@pytest.mark.parametrize("method", ["lora", "madx"])
def test_seeds_of_two_runs_stand_in_one_row_and_one_that_both_have_counts_once(method: str):
    joined = join_seeds([make_run("a", (method,), (0, 1)), make_run("b", (method,), (1, 2))])
    assert [run.label for run in joined.shown] == ["a"]
    assert joined.sentences == (
        f"‘{method}’ of ‘b’ (seeds 1 and 2) is the same method as ‘{method}’ of ‘a’: they stand in one row, with the "
        "seeds 0, 1 and 2.",
    )
    whole = build_method_grids([make_run("a", (method,))])
    assert [grid.rows for grid in build_method_grids(joined.shown)] == [grid.rows for grid in whole]


def test_a_page_of_two_runs_says_what_it_put_together():
    page = render_joined([make_run("a", ("lora", "full"), (0, 1)), make_run("b", ("lora", "ia3"), (2,))])
    assert "‘lora’ of ‘b’ (seed 2) is the same method as ‘lora’ of ‘a’" in page
    assert ">a: lora" not in page


def spoil_graft(run: Run) -> Run:
    grafts = tuple(dataclasses.replace(graft, sha256="0" * 64) for graft in run.summary.grafts)
    return change(run, grafts=grafts)


def spoil_predictions(run: Run) -> Run:
    results = tuple(dataclasses.replace(result, predictions="0" * 64) for result in run.summary.results)
    return change(run, results=results)


def spoil_base(run: Run) -> Run:
    return change(run, base=dataclasses.replace(run.summary.base, fingerprint="other"))


def forget_digests(run: Run) -> Run:
    return change(run, steps=())


@pytest.mark.parametrize("spoil", [spoil_graft, spoil_predictions, spoil_base, forget_digests])
def test_what_may_be_another_method_stays_apart(spoil: Callable[[Run], Run]):
    runs = [make_run("a", ("lora",), (0, 1)), spoil(make_run("b", ("lora",), (1, 2)))]
    joined = join_seeds(runs)
    assert joined.sentences == ()
    assert joined.shown == tuple(runs)


def test_other_settings_are_another_method():
    runs = [make_run("a", ("lora",), (0,)), make_run("b", ("lora",), (1,), family="g")]
    assert join_seeds(runs).shown == tuple(runs)


def test_the_time_of_a_run_all_of_whose_methods_stand_elsewhere_goes_with_them():
    joined = join_seeds([make_run("a", ("lora",), (0,)), make_run("b", ("lora",), (1,))])
    assert joined.shown[0].summary.seconds == 2 * make_study(("lora",)).seconds
