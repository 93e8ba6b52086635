"""Masked language modelling on plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from polygraft.data.masking import Masking, mask_batch
from polygraft.train.guessing import Guessing

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.base.base import Base
    from polygraft.data.collate import Batch
    from polygraft.data.encode import EncodedText
    from polygraft.data.guess_batch import GuessBatch


class MaskedLm(Guessing):
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
        super().__init__(text, vocabulary=vocabulary, num_negatives=num_negatives)
        self.masking = masking

    @override
    def ask(self, base: Base, batch: Batch, *, seed: int, step: int) -> GuessBatch:
        base.check_guesses("mlm")
        return mask_batch(
            batch,
            masking=self.masking,
            seed=seed,
            step=step,
            mask_id=base.mask_id,
            special_ids=base.special_ids,
            vocabulary=self.vocabulary,
        )
