"""Pieces drawn beside a vocabulary stand for all others on average."""

from __future__ import annotations

import numpy as np
import pytest

from polygraft.attach.negatives import EVEN_SHARE, Negatives

PIECES = np.arange(100, 400, 2, dtype=np.int64)
CHANCE = np.random.default_rng(2)
TERMS = np.exp(2 * CHANCE.standard_normal(len(PIECES)))
"""What is to be summed: some are a hundred times as large as others."""


def sum_drawn(negatives: Negatives, *, steps: int, terms: np.ndarray = TERMS) -> np.ndarray:
    """What the drawn pieces say the sum of all terms is, draw by draw."""
    found = []
    for step in range(steps):
        ids, log_shares = negatives.draw(seed=1, step=step)
        assert len(ids) == negatives.count
        found.append((np.exp(log_shares) * terms[np.searchsorted(PIECES, ids)]).sum())
    return np.array(found)


@pytest.mark.parametrize("count", [1, 7, 40, 149])
@pytest.mark.parametrize("chances", ["none", "right", "noisy", "one alone"])
def test_the_sum_is_right_on_average(count: int, chances: str):
    known = {
        "none": None,
        "right": TERMS,
        "noisy": TERMS * np.exp(CHANCE.standard_normal(len(TERMS))),
        "one alone": np.eye(len(TERMS))[3],
    }[chances]
    sums = sum_drawn(Negatives(PIECES, count=count, chances=known), steps=4000)
    error = sums.std() / len(sums) ** 0.5
    assert sums.mean() == pytest.approx(TERMS.sum(), abs=4 * error + 1e-9 * TERMS.sum())


def test_chances_make_the_sum_spread_less():
    even, known = (
        sum_drawn(Negatives(PIECES, count=20, chances=chances), steps=1000).std() for chances in (None, TERMS)
    )
    assert known < 0.3 * even


def test_a_piece_of_no_chance_stands_for_twice_as_many_as_all_would_alike():
    chances = np.zeros(len(PIECES))
    chances[:75] = 1
    negatives = Negatives(PIECES, count=15, chances=chances)
    largest = max(negatives.draw(seed=0, step=step)[1].max() for step in range(50))
    assert np.exp(largest) == pytest.approx(len(PIECES) / 15 / EVEN_SHARE)


def test_pieces_of_large_chance_are_always_there_for_themselves_alone():
    chances = np.ones(len(PIECES))
    chances[[5, 90]] = 1000
    negatives = Negatives(PIECES, count=12, chances=chances)
    for step in range(30):
        ids, log_shares = negatives.draw(seed=0, step=step)
        assert {PIECES[5], PIECES[90]} <= set(ids[log_shares == 0].tolist())
        assert (log_shares[np.isin(ids, PIECES[[5, 90]])] == 0).all()
        assert len(set(ids.tolist())) >= 11


@pytest.mark.parametrize("chances", [None, np.zeros(150), TERMS])
@pytest.mark.parametrize("count", [150, 1000])
def test_all_pieces_are_taken_if_there_are_fewer(chances: np.ndarray | None, count: int):
    ids, log_shares = Negatives(PIECES, count=count, chances=chances).draw(seed=4, step=9)
    assert sorted(ids.tolist()) == PIECES.tolist()
    assert not log_shares.any()


def test_equal_arguments_draw_equal_pieces_and_others_do_not():
    def draw(seed: int, step: int) -> list[int]:
        return Negatives(PIECES, count=20, chances=TERMS).draw(seed=seed, step=step)[0].tolist()

    assert draw(1, 2) == draw(1, 2)
    assert len({tuple(draw(*where)) for where in ((1, 2), (1, 3), (2, 2))}) == 3
