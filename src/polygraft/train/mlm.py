"""Masked language modelling on plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from polygraft.attach.piece_loss import Decoder, sum_piece_loss
from polygraft.data.collate import collate
from polygraft.data.masking import Masking, mask_batch
from polygraft.train.objective import BOTTOM, Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from polygraft.attach.attach import Attachment
    from polygraft.attach.depth import Depth
    from polygraft.data.encode import EncodedText


class MaskedLm(Objective):
    """Guess hidden pieces of a text (Devlin et al. 2019).

    Args:
        text: The encoded text.
        vocabulary: Sorted ids of the pieces that are scored, or None for all of them (exact).
        masking: How many pieces are hidden, and how.
        num_negatives: How many of the other pieces are scored too, others in every batch, as `Decoder` says.
    """

    name: ClassVar[str] = "mlm"

    def __init__(
        self,
        text: EncodedText,
        *,
        vocabulary: Tensor | None,
        masking: Masking,
        num_negatives: int = 0,
    ) -> None:
        self.text = text
        self.vocabulary = vocabulary
        self.masking = masking
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
        base.check_guesses("mlm")
        batch = collate(self.text, rows, pad_id=base.pad_id)
        masked = mask_batch(
            batch,
            masking=self.masking,
            seed=seed,
            step=step,
            mask_id=base.mask_id,
            special_ids=base.special_ids,
            vocabulary=self.vocabulary,
        ).to(base.device)
        head, _ = attachment.find_piece_head()
        if self._decoder is None or self._decoder.head is not head:
            self._decoder = Decoder(attachment, self.vocabulary, num_negatives=self.num_negatives)
        self._decoder.draw(seed=seed, step=step)
        total = sum_piece_loss(attachment, masked, self._decoder)
        return Loss(total=total, num_targets=len(masked.targets), num_tokens=batch.num_tokens)
