"""What objectives have in common in which pieces of a plain text are guessed."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import override

from polygraft.attach.chances import find_chances
from polygraft.attach.piece_loss import Decoder, refuse_learned_decoder, sum_piece_loss
from polygraft.data.chance import ORDER, make_generator
from polygraft.data.collate import collate
from polygraft.train.objective import BOTTOM, Loss, Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from polygraft.attach.attach import Attachment
    from polygraft.attach.depth import Depth
    from polygraft.base.base import Base
    from polygraft.data.collate import Batch
    from polygraft.data.encode import EncodedText
    from polygraft.data.guess_batch import GuessBatch

PROBE_TOKENS = 4096
"""Tokens, with padding, of the batch on which a base is asked what it would guess."""


class Guessing(Objective):
    """Guess pieces of a text.

    What scores the pieces is frozen. A graft that is to learn to change it, as one of tied word embeddings is, is an
    `OptionError` at the first loss.

    Args:
        text: The encoded text.
        vocabulary: Sorted ids of the pieces that are scored, or None for all of them (exact).
        num_negatives: How many of the other pieces are scored too, others in every batch, as `Decoder` says.
    """

    def __init__(self, text: EncodedText, *, vocabulary: Tensor | None, num_negatives: int = 0) -> None:
        self.text = text
        self.vocabulary = vocabulary
        self.num_negatives = num_negatives
        self.chances: NDArray[np.float64] | None = None
        """How likely the bare base holds each piece [V], once it was asked; None where it says nothing."""
        self._decoder: Decoder | None = None

    @abstractmethod
    def ask(self, base: Base, batch: Batch, *, seed: int, step: int) -> GuessBatch:
        """Say what is guessed in a batch; equal arguments, equal guesses.

        Raises:
            BaseModelError: The base guesses other pieces.
        """

    @override
    def lengths(self) -> NDArray[np.int64]:
        return self.text.lengths

    @override
    def get_ready(self, base: Base) -> None:
        """Ask the base what it would guess, where that says which other pieces are worth scoring.

        It is a function of the base and the text alone, so that a training that goes on draws what it would have drawn.
        """
        if self.chances is not None or self.vocabulary is None or not self.num_negatives or base.head is None:
            return
        batch = collate(self.text, self._choose_rows(), pad_id=base.pad_id)
        self.chances = find_chances(base, self.ask(base, batch, seed=0, step=0).to(base.device))
        # One that was made before draws evenly.
        self._decoder = None

    def _choose_rows(self) -> NDArray[np.int64]:
        """Take rows by chance, of all lengths, as many as go into the batch."""
        lengths = self.lengths()
        chance = make_generator(ORDER, seed=0, place=0)
        # Shuffled: unshuffled, the first of them are from the beginning of the text.
        rows = chance.choice(len(lengths), size=min(len(lengths), PROBE_TOKENS), replace=False, shuffle=True)
        sizes = np.arange(1, len(rows) + 1) * np.maximum.accumulate(lengths[rows])
        return rows[: max(1, int((sizes <= PROBE_TOKENS).sum()))]

    @override
    def compute_loss(
        self, attachment: Attachment, rows: NDArray[np.int64], *, seed: int, step: int, depth: Depth = BOTTOM
    ) -> Loss:
        base = attachment.base
        batch = collate(self.text, rows, pad_id=base.pad_id)
        asked = self.ask(base, batch, seed=seed, step=step).to(base.device)
        decoder = self._find_decoder(attachment)
        decoder.draw(seed=seed, step=step)
        total = sum_piece_loss(attachment, asked, decoder)
        return Loss(total=total, num_targets=len(asked.targets), num_tokens=batch.num_tokens)

    def _find_decoder(self, attachment: Attachment) -> Decoder:
        """Give the decoder's rows, the same ones for all batches unless a graft changes what they are copies of."""
        changed = attachment.edits.find_name(attachment.find_decoder_weight())
        learner = None if changed is None else attachment.edits.find_learner(changed)
        if changed is not None and learner is not None:
            raise refuse_learned_decoder(learner, changed)
        head, _ = attachment.find_piece_head()
        if self._decoder is not None and self._decoder.head is head and changed is None:
            return self._decoder
        decoder = Decoder(attachment, self.vocabulary, num_negatives=self.num_negatives, chances=self.chances)
        # Under the next plan the rows may be others.
        self._decoder = decoder if changed is None else None
        return decoder
