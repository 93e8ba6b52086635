from __future__ import annotations

import pytest

from polygraft.prune.share import complement, count_left, round_share


@pytest.mark.parametrize(
    ("share", "total", "number"),
    [
        (0.5, 5, 3),
        (0.3, 5, 2),
        (0.1, 15, 2),
        (0.0, 9, 0),
        (1.0, 9, 9),
        (0.1, 4, 0),
        (0.49, 1, 0),
        (1e-7, 10_000_000, 1),
    ],
)
def test_a_half_is_rounded_up_as_it_is_written(share: float, total: int, number: int):
    assert round_share(share, total=total) == number


@pytest.mark.parametrize(
    ("sparsity", "total", "number"), [(0.9, 15, 2), (0.7, 5, 2), (0.5, 5, 3), (0.0, 9, 9), (0.9, 4, 0)]
)
def test_what_is_left_is_rounded_up_too(sparsity: float, total: int, number: int):
    assert count_left(sparsity, total=total) == number


@pytest.mark.parametrize(("share", "rest"), [(0.7, 0.3), (0.9, 0.1), (0.05, 0.95), (0.0, 1.0), (1.0, 0.0)])
def test_the_rest_of_a_share_is_what_one_would_write(share: float, rest: float):
    assert complement(share) == rest
