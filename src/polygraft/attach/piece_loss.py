"""The loss of guessed pieces under an attachment: of hidden ones or of the next one, over a chosen vocabulary."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from polygraft.attach.cross_entropy import sum_cross_entropy
from polygraft.data.chance import NEGATIVES, make_generator
from polygraft.errors import DataError

if TYPE_CHECKING:
    from polygraft.attach.attach import Attachment
    from polygraft.data.guess_batch import GuessBatch


class Decoder:
    """The rows of the decoder that a run scores: a corpus' vocabulary, with some of the other pieces or not, or all.

    The other pieces are drawn anew for every batch, and each of them stands for as many as were not drawn, so that
    the sum over all pieces under the softmax is right on average (importance sampling: Bengio & Senécal 2008; Jean
    et al. 2015, section 3).

    Args:
        attachment: The plan whose head that scores pieces is asked.
        vocabulary: Sorted ids of the pieces that are scored [V'], or None for all (exact).
        num_negatives: How many of the other pieces are scored beside them [K], all if there are fewer; 0 with None.
    """

    def __init__(self, attachment: Attachment, vocabulary: Tensor | None, *, num_negatives: int = 0) -> None:
        self.head, _ = attachment.find_piece_head()
        self._all_rows = attachment.find_decoder_weight().detach()
        self.weight = attachment.find_decoder_weight()
        self.vocabulary: Tensor | None = None
        self._log_share = 0.0
        if vocabulary is None:
            return
        device, num_pieces = attachment.base.device, len(self._all_rows)
        self.vocabulary = vocabulary.to(device)
        is_other = np.ones(num_pieces, dtype=np.bool_)
        is_other[vocabulary.cpu().numpy()] = False
        self._others = np.flatnonzero(is_other)
        self._num_drawn = min(num_negatives, len(self._others))
        self._drawn = torch.empty(0, dtype=torch.int64, device=device)
        self.weight = self._all_rows[self.vocabulary]
        if self._num_drawn:
            self._log_share = math.log(len(self._others) / self._num_drawn)
            self.weight = torch.cat(
                [self.weight, self.weight.new_empty(self._num_drawn, self.weight.shape[1])]
            )
            self.draw(seed=0, step=0)

    def draw(self, *, seed: int, step: int) -> None:
        """Choose other pieces, the same ones for equal arguments.

        Args:
            seed: Where chance comes from, together with `step`; not negative.
            step: Number of the update; not negative.
        """
        if self.vocabulary is None or not self._num_drawn:
            return
        rng = make_generator(NEGATIVES, seed=seed, place=step)
        numbers = rng.choice(len(self._others), size=self._num_drawn, replace=False, shuffle=False)
        self._drawn = torch.from_numpy(self._others[numbers]).to(self.vocabulary.device)
        # The rows of the vocabulary stay where they are.
        self.weight[len(self.vocabulary) :] = self._all_rows[self._drawn]

    def number_targets(self, targets: Tensor) -> Tensor:
        """Turn ids of pieces [N] into rows of the decoder [N].

        Raises:
            DataError: A piece is not in the vocabulary.
        """
        if self.vocabulary is None:
            return targets
        rows = torch.searchsorted(self.vocabulary, targets).clamp(max=len(self.vocabulary) - 1)
        outside = self.vocabulary[rows] != targets
        if bool(outside.any()):
            raise DataError(
                f"The piece {int(targets[outside][0])} is to be guessed, and the vocabulary of "
                f"{len(self.vocabulary)} pieces that is scored does not have it. Score all pieces instead "
                "(vocabulary = 'full')."
            )
        return rows

    def find_bias(self) -> Tensor | None:
        """Give the bias of the rows that are scored [V' + K], or None; what a drawn piece stands for is in its own."""
        bias = self.head.bias
        if self.vocabulary is None:
            return bias
        if not self._num_drawn:
            return None if bias is None else bias[self.vocabulary]
        if bias is None:
            shares = self.weight.new_zeros(len(self.weight), dtype=torch.float32)
            shares[len(self.vocabulary) :] = self._log_share
            return shares
        bias = bias.float()
        return torch.cat([bias[self.vocabulary], bias[self._drawn] + self._log_share])


def sum_piece_loss(attachment: Attachment, batch: GuessBatch, decoder: Decoder) -> Tensor:
    """Sum the cross entropy of the pieces of a batch that are guessed, in nats.

    Only the places that are guessed from go through the head, and no matrix of all tokens and pieces exists. The sum
    over the decoder's rows is exact, over the full vocabulary too.
    """
    x = _prepare(attachment, batch)
    return sum_cross_entropy(x, decoder.weight, decoder.find_bias(), decoder.number_targets(batch.targets))


def sum_piece_loss_of_rows(attachment: Attachment, batch: GuessBatch, decoder: Decoder) -> Tensor:
    """Sum the same for each row of a batch alone, in nats [B]; 0 where nothing is guessed."""
    x, bias = _prepare(attachment, batch), decoder.find_bias()
    targets = decoder.number_targets(batch.targets)
    counts = count_guessed(batch).tolist()
    parts = zip(x.split(counts), targets.split(counts), strict=True)
    return torch.stack([sum_cross_entropy(row, decoder.weight, bias, right) for row, right in parts])


def count_guessed(batch: GuessBatch) -> Tensor:
    """Count the pieces that are guessed in each row of a batch [B]."""
    num_rows, length = batch.input_ids.shape
    return torch.bincount(batch.positions // length, minlength=num_rows)


def _prepare(attachment: Attachment, batch: GuessBatch) -> Tensor:
    """Give the decoder's input at the places that are guessed from [N, E]."""
    _, layer = attachment.find_piece_head()
    selected = attachment.run(batch.input_ids, batch.attention_mask, layer=layer, at=batch.positions)
    x, _, _ = attachment.prepare_decoding(selected)
    return x
