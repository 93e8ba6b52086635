"""Rank correlation, against its formula for ranks without ties and Pearson's with them."""

from __future__ import annotations

import numpy as np
import pytest

from polygraft.evaluate.correlation import rank_correlation


def test_without_ties_it_is_spearmans_formula():
    first, second = [3.0, 1.0, 9.0, 4.0, 5.0], [0.1, 0.4, 0.9, 0.2, 0.3]
    differences = np.argsort(np.argsort(first)) - np.argsort(np.argsort(second))
    wanted = 1 - 6 * float((differences**2).sum()) / (5 * 24)
    assert rank_correlation(first, second) == pytest.approx(wanted, abs=1e-12)


def test_equal_values_share_their_mean_rank():
    wanted = float(np.corrcoef([1.5, 1.5, 3, 4], [1, 3, 2, 4])[0, 1])
    assert rank_correlation([2, 2, 5, 7], [0, 2, 1, 3]) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(("first", "second"), [([], []), ([1, 1], [1, 2]), ([1], [4])])
def test_what_does_not_vary_has_none(first: list[float], second: list[float]):
    assert rank_correlation(first, second) is None
