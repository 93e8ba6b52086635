"""Which tokens a masked language model has to guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor

from polygraft.data.chance import MASKS, make_generator
from polygraft.data.collate import Batch
from polygraft.data.encode import EncodedText
from polygraft.data.guess_batch import GuessBatch
from polygraft.errors import DataError, OptionError

_CHUNK = 1 << 24
"""Tokens that are looked at together: an index of a whole text would need twice its memory."""


@dataclass(frozen=True, kw_only=True)
class Masking:
    """How many tokens are hidden, and how.

    The defaults are those of BERT (Devlin et al. 2019).

    Args:
        rate: Share of the tokens that are to be guessed.
        mask_share: Share of these that become the mask token.
        random_share: Share of these that become another token by chance; the rest stay as they are.

    Raises:
        OptionError: A share is not between 0 and 1, or both shares are more than 1 together.
    """

    rate: float = 0.15
    mask_share: float = 0.8
    random_share: float = 0.1

    def __post_init__(self) -> None:
        """Check the shares."""
        if not 0 < self.rate <= 1:
            raise OptionError(
                f"rate is {self.rate}. A share above 0 and at most 1 was expected. Give such a share; 0.15 "
                "is common."
            )
        if not (
            0 <= self.mask_share <= 1
            and 0 <= self.random_share <= 1
            and self.mask_share + self.random_share <= 1
        ):
            raise OptionError(
                f"mask_share is {self.mask_share} and random_share is {self.random_share}. Two shares "
                "between 0 and 1 that are at most 1 together were expected. Lower one of them; 0.8 and 0.1 "
                "are common."
            )


def mask_batch(
    batch: Batch,
    *,
    masking: Masking,
    seed: int,
    step: int,
    mask_id: int,
    special_ids: Sequence[int],
    vocabulary: Int64[Tensor, " V"] | None = None,
) -> GuessBatch:
    """Hide some tokens of a batch for a masked language model to guess.

    Equal arguments hide equal tokens, on every machine and whatever the padding: for fixed evaluation masks,
    give one seed and the batch's number as `step`. `rate` of the batch's tokens and at least one is hidden, rounded
    as `count_hidden` says. Special tokens and padding never are.

    Args:
        batch: The rows.
        masking: How many tokens, and how.
        seed: Chooses the tokens together with `step`; not negative.
        step: Number of the training step or of the evaluation batch; not negative.
        mask_id: The tokenizer's mask token.
        special_ids: The tokenizer's special tokens.
        vocabulary: Tokens to draw replacements from, ascending; special ones are left out. Without it, they are
            drawn from the batch's own tokens.

    Raises:
        DataError: The batch holds special tokens and padding only.
        OptionError: `seed` or `step` is negative.
    """
    device = batch.input_ids.device
    special = np.asarray(list(special_ids), dtype=np.int64)
    flat: NDArray[np.int64] = batch.input_ids.cpu().numpy().reshape(-1).copy()
    usable = np.flatnonzero(batch.attention_mask.cpu().numpy().reshape(-1) & ~np.isin(flat, special))
    if len(usable) == 0:
        raise DataError(
            f"A batch of {len(batch.rows)} rows has no token that could be masked, only special tokens and "
            "padding. At least one other token was expected. Leave such rows out of the text."
        )
    rng = make_generator(MASKS, seed=seed, place=step)
    num_hidden = count_hidden(len(usable), rate=masking.rate)
    positions = usable[np.sort(rng.choice(len(usable), size=num_hidden, replace=False, shuffle=False))]
    targets = flat[positions]

    choices: NDArray[np.int64] = flat[usable] if vocabulary is None else vocabulary.cpu().numpy()
    left_out = _find_places(choices, special) if vocabulary is not None else usable[:0]
    draw = rng.random(num_hidden)
    to_random = (draw >= masking.mask_share) & (draw < masking.mask_share + masking.random_share)
    hidden = np.where(draw < masking.mask_share, mask_id, targets)
    if len(choices) > len(left_out):
        drawn = rng.integers(len(choices) - len(left_out), size=num_hidden)
        # The n-th of those that stay, without a list of them: a vocabulary may have a quarter of a million.
        drawn += np.searchsorted(left_out - np.arange(len(left_out)), drawn, side="right")
        hidden = np.where(to_random, choices[drawn], hidden)
    flat[positions] = hidden
    return GuessBatch(
        input_ids=torch.from_numpy(flat.reshape(batch.input_ids.shape)).to(device),
        attention_mask=batch.attention_mask,
        positions=torch.from_numpy(positions).to(device),
        targets=torch.from_numpy(targets).to(device),
    )


def count_hidden(num_usable: int, *, rate: float) -> int:
    """Give how many tokens of a batch are hidden: the wanted share of them, and at least one.

    From 65 on, the number is rounded to an even one, from 129 on to a multiple of 4, and so on, by at most one part
    in 64. So the head, which reads the hidden tokens only, gets few shapes; `pad_length` says why that is good.

    Args:
        num_usable: Tokens that may be hidden.
        rate: The wanted share.

    Example:
        >>> count_hidden(100, rate=0.15), count_hidden(2000, rate=0.15), count_hidden(2010, rate=0.15)
        (15, 304, 304)
    """
    wanted = rate * num_usable
    step = 1
    while wanted > 64 * step:
        step *= 2
    return min(num_usable, max(1, round(wanted / step) * step))


def corpus_vocabulary(encoded: EncodedText, *, special_ids: Sequence[int]) -> Int64[Tensor, " V"]:
    """Give the token ids that a corpus uses and the special ones, ascending.

    Args:
        encoded: The corpus.
        special_ids: The tokenizer's special tokens, which belong to every vocabulary.

    Example:
        >>> text = EncodedText(ids=np.array([0, 9, 5, 9], dtype=np.int32), starts=np.array([0, 4]))
        >>> corpus_vocabulary(text, special_ids=[0, 2]).tolist()
        [0, 2, 5, 9]
    """
    largest = max(int(encoded.ids.max(initial=0)), *special_ids)
    used = np.zeros(largest + 1, dtype=np.bool_)
    used[list(special_ids)] = True
    for start in range(0, len(encoded.ids), _CHUNK):
        used[encoded.ids[start : start + _CHUNK]] = True
    return torch.from_numpy(np.flatnonzero(used))


def _find_places(choices: NDArray[np.int64], special: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give where special tokens stand among ascending choices, ascending."""
    places = np.searchsorted(choices, np.unique(special))
    inside = places < len(choices)
    return places[inside][choices[places[inside]] == np.unique(special)[inside]]
