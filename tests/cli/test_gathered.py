from __future__ import annotations

from dataclasses import replace

import pytest
from tests.cli.test_progress import step

from polygraft.cli.gathered import GatheredSteps


def test_trainings_side_by_side_are_summed_and_their_scores_averaged():
    gathered = GatheredSteps(3)
    assert gathered.add("a", step(1)).total == 30
    gathered.add("b", replace(step(1, held_out=0.25), loss=1.5))
    found = gathered.add("a", replace(step(2, held_out=0.75), loss=0.5))
    assert (found.number, found.total, found.loss, found.held_out) == (3, 30, 1.0, 0.5)
    assert (found.tokens, found.seconds) == (300, 0.1 + 0.2)
    assert found.tokens_per_second == pytest.approx(1000)


def test_a_score_stands_until_the_next_one():
    gathered = GatheredSteps(1)
    gathered.add("a", step(1, held_out=0.5))
    assert gathered.add("a", step(2)).held_out == 0.5


def test_one_that_ends_early_or_was_done_before_is_not_waited_for():
    gathered = GatheredSteps(3)
    gathered.end("c")
    gathered.add("a", step(4))
    gathered.end("a")
    found = gathered.add("b", step(1))
    assert (found.number, found.total) == (5, 14)
