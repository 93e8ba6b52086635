"""The masked-LM loss under an attachment: at the masked positions only, over a chosen vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polygraft.attach.cross_entropy import sum_cross_entropy
from polygraft.errors import DataError

if TYPE_CHECKING:
    from polygraft.attach.attach import Attachment
    from polygraft.data.masking import MaskedBatch


class Decoder:
    """The rows of the decoder that a run scores: a corpus' vocabulary, or all pieces.

    Args:
        attachment: The plan whose masked-LM head is asked.
        vocabulary: Sorted ids of the pieces that are scored [V'], or None for all (exact).
    """

    def __init__(self, attachment: Attachment, vocabulary: Tensor | None) -> None:
        head, _ = attachment.find_masked_lm_head()
        self.vocabulary = None if vocabulary is None else vocabulary.to(attachment.base.device)
        weight = attachment.find_decoder_weight()
        self.weight = weight if self.vocabulary is None else weight.detach()[self.vocabulary]
        self.head = head

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
        """Give the bias of the rows that are scored [V'], or None."""
        bias = self.head.bias
        return bias if bias is None or self.vocabulary is None else bias[self.vocabulary]


def sum_masked_lm_loss(attachment: Attachment, batch: MaskedBatch, decoder: Decoder) -> Tensor:
    """Sum the cross entropy at the masked positions of a batch, in nats.

    Only the masked positions go through the head, and no matrix of all tokens and all pieces exists. The sum is
    exact, over the full vocabulary too.
    """
    _, layer = attachment.find_masked_lm_head()
    hidden = attachment.run(batch.input_ids, batch.attention_mask, layer=layer)
    selected = hidden.flatten(0, 1)[batch.positions]
    x, _, _ = attachment.prepare_decoding(selected)
    return sum_cross_entropy(x, decoder.weight, decoder.find_bias(), decoder.number_targets(batch.targets))
