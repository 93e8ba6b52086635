"""Causal language modelling on plain text: guessing the next piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from polygraft.data.next_piece import drop_single_tokens, shift_batch
from polygraft.train.guessing import Guessing

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.base.base import Base
    from polygraft.data.collate import Batch
    from polygraft.data.encode import EncodedText
    from polygraft.data.guess_batch import GuessBatch


class CausalLm(Guessing):
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
        super().__init__(drop_single_tokens(text), vocabulary=vocabulary, num_negatives=num_negatives)

    @override
    def ask(self, base: Base, batch: Batch, *, seed: int, step: int) -> GuessBatch:
        base.check_guesses("causal")
        return shift_batch(batch)
