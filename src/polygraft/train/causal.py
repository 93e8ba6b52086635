"""Causal language modelling on plain text: guessing the next piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from polygraft.attach.piece_loss import Decoder, sum_piece_loss
from polygraft.data.collate import collate
from polygraft.data.next_piece import drop_single_tokens, shift_batch
from polygraft.train.objective import BOTTOM, Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from polygraft.attach.attach import Attachment
    from polygraft.attach.depth import Depth
    from polygraft.data.encode import EncodedText


class CausalLm(Objective):
    """Guess each piece of a text from those before it in its row (Radford et al. 2018, section 3.1).

    The first piece of a row is not guessed.

    Args:
        text: The encoded text; rows of one token are left out.
        vocabulary: Sorted ids of the pieces that are scored, or None for all of them (exact).
        num_negatives: How many of the other pieces are scored too, others in every batch, as `Decoder` says.

    Raises:
        DataError: No row has two tokens.
    """

    name: ClassVar[str] = "causal"

    def __init__(self, text: EncodedText, *, vocabulary: Tensor | None, num_negatives: int = 0) -> None:
        self.text = drop_single_tokens(text)
        self.vocabulary = vocabulary
        self.num_negatives = num_negatives
        self._decoder: Decoder | None = None

    @override
    def lengths(self) -> NDArray[np.int64]:
        return self.text.lengths

    @override
    def compute_loss(
        self, attachment: Attachment, rows: NDArray[np.int64], *, seed: int, step: int, depth: Depth = BOTTOM
    ) -> Loss:
        base = attachment.base
        base.check_guesses("causal")
        batch = collate(self.text, rows, pad_id=base.pad_id)
        shifted = shift_batch(batch).to(base.device)
        head, _ = attachment.find_piece_head()
        if self._decoder is None or self._decoder.head is not head:
            self._decoder = Decoder(attachment, self.vocabulary, num_negatives=self.num_negatives)
        self._decoder.draw(seed=seed, step=step)
        total = sum_piece_loss(attachment, shifted, self._decoder)
        return Loss(total=total, num_targets=len(shifted.targets), num_tokens=batch.num_tokens)
