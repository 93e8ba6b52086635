"""Pieces that are scored beside a corpus' own, others for every batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from polygraft.data.chance import NEGATIVES, make_generator

EVEN_SHARE = 0.5
"""How much of the chance to be drawn is the same for all: a piece that nothing spoke for counts twice as much as if all
chance were the same, and no more."""


class Negatives:
    """Some of many pieces, drawn anew for every batch, each standing for those that were not drawn.

    A sum over all pieces is, on average, the sum over the drawn ones of `exp(log_share)` times theirs (importance
    sampling: Bengio & Senécal 2008; Jean et al. 2015, section 3). It spreads less, the nearer the chances are to what
    is summed. Pieces whose chance is large enough are always among the drawn ones, for themselves alone; each of
    the others is drawn from a stretch of its own, all stretches having equal chance (stratified sampling).

    Args:
        pieces: The ids [M], ascending.
        count: How many are drawn [K], all if there are fewer.
        chances: How large the terms of each piece are thought to be [M], not negative; None where nothing is known.
    """

    def __init__(
        self, pieces: NDArray[np.int64], *, count: int, chances: NDArray[np.float64] | None = None
    ) -> None:
        self.count = min(count, len(pieces))
        even = np.full(len(pieces), 1 / max(1, len(pieces)))
        chance = even
        if chances is not None and chances.sum() > 0:
            chance = (1 - EVEN_SHARE) * chances / chances.sum() + EVEN_SHARE * even
        is_certain = _find_certain(chance, self.count)
        self._certain = pieces[is_certain]
        self._others, chance = pieces[~is_certain], chance[~is_certain]
        self._num_drawn = self.count - len(self._certain)
        self._ends = np.cumsum(chance)
        total = self._ends[-1] if len(chance) else 1.0
        self._ends /= total
        self._log_shares = -np.log(chance / total * max(1, self._num_drawn))

    def draw(self, *, seed: int, step: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Draw ids [K], with the logarithm of the number that each stands for [K]; equal arguments, equal ids.

        Args:
            seed: Where chance comes from, together with `step`; not negative.
            step: Number of the update; not negative.
        """
        rng = make_generator(NEGATIVES, seed=seed, place=step)
        places = (np.arange(self._num_drawn) + rng.random(self._num_drawn)) / max(1, self._num_drawn)
        drawn = np.minimum(np.searchsorted(self._ends, places, side="right"), len(self._others) - 1)
        ids = np.concatenate([self._certain, self._others[drawn]])
        return ids, np.concatenate([np.zeros(len(self._certain)), self._log_shares[drawn]])


def _find_certain(chance: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    """Tell which pieces would be drawn once or more on average by what is left of `count`, largest first."""
    if count >= len(chance):
        return np.ones(len(chance), dtype=np.bool_)
    order = np.argsort(-chance, kind="stable")[:count]
    before = np.concatenate([[0.0], np.cumsum(chance[order])[:-1]])
    left = chance.sum() - before
    is_large = (count - np.arange(len(order))) * chance[order] >= left
    num_certain = len(order) if is_large.all() else int(is_large.argmin())
    is_certain = np.zeros(len(chance), dtype=np.bool_)
    is_certain[order[:num_certain]] = True
    return is_certain
