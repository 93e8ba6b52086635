from __future__ import annotations

import math
import statistics

import pytest

from polygraft.evaluate.deviation import standard_deviation


def test_it_is_that_of_a_sample():
    values = [0.31, 0.355, 0.29, 0.42]
    assert standard_deviation(values) == pytest.approx(statistics.stdev(values))
    # Mean 2, squares 1 + 0 + 1, over 2.
    assert standard_deviation([1.0, 2.0, 3.0]) == 1.0


def test_a_score_that_is_no_number_makes_it_none():
    assert math.isnan(standard_deviation([0.5, math.nan]))
