"""The loss of guessed pieces under an attachment: of hidden ones or of the next one, over a chosen vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from polygraft.attach.cross_entropy import sum_cross_entropy
from polygraft.attach.negatives import Negatives
from polygraft.errors import DataError, OptionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from polygraft.attach.attach import Attachment
    from polygraft.data.guess_batch import GuessBatch


class Decoder:
    """The rows of the decoder that a run scores: a corpus' vocabulary, with some of the other pieces or not, or all.

    The other pieces are drawn anew for every batch, as `Negatives` says, so that the sum over all pieces under the
    softmax is right on average.

    Args:
        attachment: The plan whose head that scores pieces is asked.
        vocabulary: Sorted ids of the pieces that are scored [V'], or None for all (exact).
        num_negatives: How many of the other pieces are scored beside them [K], all if there are fewer; 0 with None.
        chances: How likely each piece is held to be by the base's own head [V], which says where others are worth
            drawing; without meaning for another head.
    """

    def __init__(
        self,
        attachment: Attachment,
        vocabulary: Tensor | None,
        *,
        num_negatives: int = 0,
        chances: NDArray[np.float64] | None = None,
    ) -> None:
        self.head, _ = attachment.find_piece_head()
        self._all_rows = attachment.find_decoder_weight().detach()
        self.weight = attachment.find_decoder_weight()
        self.vocabulary: Tensor | None = None
        self._negatives: Negatives | None = None
        if vocabulary is None:
            return
        device, num_pieces = attachment.base.device, len(self._all_rows)
        self.vocabulary = vocabulary.to(device)
        self.weight = self._all_rows[self.vocabulary]
        is_other = np.ones(num_pieces, dtype=np.bool_)
        is_other[vocabulary.cpu().numpy()] = False
        others = np.flatnonzero(is_other)
        if num_negatives and len(others):
            known = chances if self.head is attachment.base.head else None
            self._negatives = Negatives(
                others, count=num_negatives, chances=None if known is None else known[others]
            )
            room = self.weight.new_empty(self._negatives.count, self.weight.shape[1])
            self.weight = torch.cat([self.weight, room])
            self.draw(seed=0, step=0)

    def draw(self, *, seed: int, step: int) -> None:
        """Choose other pieces, the same ones for equal arguments.

        Args:
            seed: Where chance comes from, together with `step`; not negative.
            step: Number of the update; not negative.
        """
        if self.vocabulary is None or self._negatives is None:
            return
        ids, log_shares = self._negatives.draw(seed=seed, step=step)
        device = self.vocabulary.device
        self._drawn = torch.from_numpy(ids).to(device)
        self._log_shares = torch.from_numpy(log_shares).to(device, torch.float32)
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
        if self._negatives is None:
            return None if bias is None else bias[self.vocabulary]
        if bias is None:
            return torch.cat([self._log_shares.new_zeros(len(self.vocabulary)), self._log_shares])
        bias = bias.float()
        return torch.cat([bias[self.vocabulary], bias[self._drawn] + self._log_shares])


def refuse_learned_decoder(graft: str, weight: str) -> OptionError:
    """Make the error for a graft that is to learn to change what also scores the pieces: its rows are copies.

    Args:
        graft: Its name.
        weight: The name of the weight.
    """
    return OptionError(
        f"The graft '{graft}' was to change '{weight}' while it learns to guess pieces, and these are also what scores "
        "the pieces. Expected other weights, such as linear and norm. Leave the word embeddings out."
    )


def sum_piece_loss(attachment: Attachment, batch: GuessBatch, decoder: Decoder) -> Tensor:
    """Sum the cross entropy of the pieces of a batch that are guessed, in nats.

    Only the places that are guessed from go through the head, and no matrix of all tokens and pieces exists. The sum
    over the decoder's rows is exact, over the full vocabulary too.
    """
    x = prepare_guesses(attachment, batch)
    return sum_cross_entropy(x, decoder.weight, decoder.find_bias(), decoder.number_targets(batch.targets))


def sum_piece_loss_of_rows(attachment: Attachment, batch: GuessBatch, decoder: Decoder) -> Tensor:
    """Sum the same for each row of a batch alone, in nats [B]; 0 where nothing is guessed."""
    x, bias = prepare_guesses(attachment, batch), decoder.find_bias()
    targets = decoder.number_targets(batch.targets)
    counts = count_guessed(batch).tolist()
    parts = zip(x.split(counts), targets.split(counts), strict=True)
    return torch.stack([sum_cross_entropy(row, decoder.weight, bias, right) for row, right in parts])


def count_guessed(batch: GuessBatch) -> Tensor:
    """Count the pieces that are guessed in each row of a batch [B]."""
    num_rows, length = batch.input_ids.shape
    return torch.bincount(batch.positions // length, minlength=num_rows)


def prepare_guesses(attachment: Attachment, batch: GuessBatch) -> Tensor:
    """Give the decoder's input at the places that are guessed from [N, E]."""
    _, layer = attachment.find_piece_head()
    selected = attachment.run(batch.input_ids, batch.attention_mask, layer=layer, at=batch.positions)
    x, _, _ = attachment.prepare_decoding(selected)
    return x
