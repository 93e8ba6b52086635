"""Chance that can be repeated: random numbers that depend on a seed and a place, and on nothing else."""

from __future__ import annotations

import numpy as np

from polygraft.errors import OptionError

ORDER = 1
"""The use of chance that orders rows."""

MASKS = 2
"""The use of chance that hides tokens."""

NEGATIVES = 3
"""The use of chance that draws pieces to score beside a corpus' own."""

CONTROLS = 4
"""The use of chance that puts the values of a graft in another order."""

DRAWS = 5
"""The use of chance that PyTorch's generators begin each batch of a training with: dropout, what objectives draw."""


def make_generator(use: int, *, seed: int, place: int) -> np.random.Generator:
    """Make the random numbers for one use, one seed and one place in the work.

    Different uses never share numbers, so that the order of rows says nothing about what is hidden in them.

    Args:
        use: `ORDER`, `MASKS`, `NEGATIVES`, `CONTROLS` or `DRAWS`.
        seed: The run's seed.
        place: The epoch, or the step.

    Raises:
        OptionError: The seed or the place is negative.

    Example:
        >>> first, again = (make_generator(ORDER, seed=3, place=0).random() for _ in range(2))
        >>> first == again
        True
    """
    for name, value in (("seed", seed), ("epoch" if use == ORDER else "step", place)):
        if value < 0:
            raise OptionError(
                f"The {name} is {value}. A whole number of at least 0 was expected. Give such a number."
            )
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(use, place))))


def make_listed_generator(*numbers: int) -> np.random.Generator:
    """Make the random numbers that belong to a list: the seed, the place if there is one, and last the use.

    So a plan is taken for each update (1), and rows for a text of some size (2).

    Args:
        numbers: Whole numbers, not negative; other lists, other random numbers.

    Example:
        >>> first, other = (make_listed_generator(3, place, 1).random() for place in (0, 1))
        >>> first == other
        False
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(numbers)))
