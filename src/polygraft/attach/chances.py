"""What a bare base would guess: where to look for the pieces that weigh most under a softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from polygraft.attach.attach import attach
from polygraft.attach.piece_loss import prepare_guesses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from polygraft.base.base import Base
    from polygraft.data.guess_batch import GuessBatch

CELLS_PER_CHUNK = 4_000_000
"""Scores that exist at once, a few times over: 16 MB in float32."""
MAX_PLACES = 256
"""The most places that are looked at."""


def find_chances(base: Base, batch: GuessBatch) -> NDArray[np.float64]:
    """Give the probability of each piece [V] by the base's own head, in the mean over places that are guessed from.

    No matrix of all places and pieces exists: the scores are computed twice, chunk by chunk of pieces.

    Args:
        base: A base with a head that scores pieces, and no plan in force.
        batch: What is guessed; of many places, some at equal distances are looked at.
    """
    with torch.no_grad(), attach(base, None) as attachment:
        x = prepare_guesses(attachment, batch)
        x = x[:: -(-len(x) // MAX_PLACES)]
        head, _ = attachment.find_piece_head()
        weight, bias = attachment.find_decoder_weight(), head.bias
        sums = torch.stack([scores.logsumexp(1) for scores in _score(x, weight, bias)]).logsumexp(0)
        means = [(scores - sums[:, None]).exp().mean(0) for scores in _score(x, weight, bias)]
    return torch.cat(means).double().cpu().numpy()


def _score(x: Tensor, weight: Tensor, bias: Tensor | None) -> Iterator[Tensor]:
    """Score some pieces after the others [N, C]."""
    size = max(1, CELLS_PER_CHUNK // len(x))
    for start in range(0, len(weight), size):
        pieces = slice(start, start + size)
        scores = functional.linear(x.to(weight.dtype), weight[pieces]).float()
        yield scores if bias is None else scores + bias[pieces].float()
