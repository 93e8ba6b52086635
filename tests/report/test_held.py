"""Contests over several runs stand for those of each run."""

from __future__ import annotations

import dataclasses

from tests.report.study import make_study

from polygraft.report.held import settle_contests

OWN = [contest for contest in make_study(("full", "lora", "ia3")).contests if contest.task == "ner"]


def test_a_pair_that_was_compared_over_all_runs_is_not_told_of_one():
    turned = dataclasses.replace(OWN[0], method=OWN[0].other_method, other_method=OWN[0].method, gain=0.5)
    elsewhere = dataclasses.replace(turned, task="pos")
    unknown = dataclasses.replace(turned, method="head")
    settled = settle_contests(
        OWN, [turned, elsewhere, unknown], task="ner", source="en", methods=("full", "lora", "ia3")
    )
    assert settled == (turned, *OWN[1:])
