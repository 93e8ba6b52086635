"""Which rows go together: batches of few padding tokens, the same ones for the same seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from polygraft.data.chance import ORDER, make_generator
from polygraft.errors import OptionError

NUM_STEPS = 16
"""Padded lengths between one power of two and the next."""
LEAST_WINDOW = 4096


def pad_length(length: int) -> int:
    """Give the length that rows of at most `length` tokens are padded to.

    It is a whole number up to 32, an even one up to 64, a multiple of 4 up to 128, and so on: sixteen lengths from
    one power of two to the next, so that at most a sixteenth is added. Few lengths make few shapes of batches, and
    for each shape libraries such as oneDNN prepare and keep a program of its own.

    Args:
        length: Tokens of the longest row of a batch.

    Example:
        >>> [pad_length(length) for length in (0, 7, 33, 70, 128)]
        [0, 7, 34, 72, 128]
    """
    step = 1
    while length > 2 * NUM_STEPS * step:
        step *= 2
    return -(-length // step) * step


def plan_batches(
    lengths: NDArray[np.integer], *, token_budget: int, seed: int, epoch: int, window: int | None = None
) -> list[NDArray[np.int64]]:
    """Shuffle rows into batches of like lengths for one epoch of training.

    Rows are shuffled and cut into windows, sorted by length inside each window, and cut into batches whose
    padded size stays within the budget; the rows of a window that do not fill a batch go on to the next one.
    Then the batches are shuffled. A row that is longer than the budget is a batch alone.

    Args:
        lengths: Number of tokens of each row.
        token_budget: Largest number of tokens of a batch, padding included.
        seed: Chooses the order together with `epoch`: equal arguments give equal batches, on every machine.
        epoch: Number of the pass over the data, counted from 0.
        window: Rows sorted together. More leave less padding, fewer leave more chance. None takes 4096, or twice
            the budget where that is more: large batches need more rows to choose from.

    Raises:
        OptionError: A number is out of range.

    Example:
        >>> [batch.tolist() for batch in plan_batches(np.array([3, 9, 3]), token_budget=9, seed=0, epoch=0)]
        [[0, 2], [1]]
    """
    _check_budget(token_budget)
    if window is None:
        window = max(LEAST_WINDOW, 2 * token_budget)
    if window < 1:
        raise OptionError(f"window is {window}. A whole number of at least 1 was expected. 4096 is common.")
    rng = make_generator(ORDER, seed=seed, place=epoch)
    order = rng.permutation(len(lengths))
    longest = int(lengths.max(initial=0))
    batches: list[NDArray[np.int64]] = []
    rest = order[:0]
    for start in range(0, len(order), window):
        rows = np.concatenate([rest, order[start : start + window]])
        found, rest = _cut(lengths, rows, token_budget=token_budget, longest=longest)
        batches += found
    batches += [rest] if len(rest) else []
    return [batches[index] for index in rng.permutation(len(batches))]


def plan_eval_batches(lengths: NDArray[np.integer], *, token_budget: int) -> list[NDArray[np.int64]]:
    """Sort all rows by length, longest first, and cut them into batches within the budget.

    Args:
        lengths: Number of tokens of each row.
        token_budget: Largest number of tokens of a batch, padding included.

    Raises:
        OptionError: The budget is below 1.

    Example:
        >>> [batch.tolist() for batch in plan_eval_batches(np.array([3, 9, 3]), token_budget=9)]
        [[1], [0, 2]]
    """
    _check_budget(token_budget)
    rows = np.arange(len(lengths), dtype=np.int64)
    batches, rest = _cut(lengths, rows, token_budget=token_budget, longest=int(lengths.max(initial=0)))
    return [*batches, rest] if len(rest) else batches


def padding_share(lengths: NDArray[np.integer], batches: Sequence[NDArray[np.integer]]) -> float:
    """Give the share of padding among all the tokens that the batches hold.

    Args:
        lengths: Number of tokens of each row.
        batches: Rows of each batch.

    Example:
        >>> padding_share(np.array([4, 2]), [np.array([0, 1])])
        0.25
    """
    longest = int(lengths.max(initial=0))
    padded = sum(
        len(rows) * min(pad_length(int(lengths[rows].max())), longest) for rows in batches if len(rows)
    )
    filled = sum(int(lengths[rows].sum()) for rows in batches)
    return 1.0 - filled / padded if padded else 0.0


def _cut(
    lengths: NDArray[np.integer], rows: NDArray[np.int64], *, token_budget: int, longest: int
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """Give full batches, longest rows first, and the shortest rows, which do not fill one."""
    rows = rows[np.argsort(-lengths[rows].astype(np.int64), kind="stable")]
    batches: list[NDArray[np.int64]] = []
    start = 0
    while start < len(rows):
        width = max(1, min(pad_length(int(lengths[rows[start]])), longest))
        end = start + max(1, token_budget // width)
        if end > len(rows):
            break
        batches.append(rows[start:end])
        start = end
    return batches, rows[start:]


def _check_budget(token_budget: int) -> None:
    if token_budget < 1:
        raise OptionError(
            f"token_budget is {token_budget}. A whole number of at least 1 was expected, padding included. "
            "Give a larger budget, for example 4096."
        )
