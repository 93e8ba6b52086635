"""How well pieces of held-out text are guessed: hidden ones, or the next one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from polygraft.attach.piece_loss import Decoder, count_guessed, sum_piece_loss, sum_piece_loss_of_rows
from polygraft.data.batches import plan_eval_batches
from polygraft.data.collate import collate
from polygraft.data.masking import Masking, mask_batch
from polygraft.data.next_piece import drop_single_tokens, shift_batch
from polygraft.evaluate.run import BATCH_TOKENS

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.attach.attach import Attachment
    from polygraft.base.base import Base
    from polygraft.data.collate import Batch
    from polygraft.data.encode import EncodedText
    from polygraft.data.guess_batch import GuessBatch


@dataclass(frozen=True, kw_only=True)
class TextLoss:
    """How well pieces of a text are guessed."""

    loss: float
    """Nats a piece that was to be guessed."""
    num_targets: int
    """Pieces that were to be guessed."""


def measure_masked_lm(
    attachment: Attachment,
    text: EncodedText,
    *,
    vocabulary: Tensor | None,
    masking: Masking,
    seed: int = 0,
    num_negatives: int = 0,
    chances: NDArray[np.float64] | None = None,
) -> TextLoss:
    """Measure the masked-LM loss on held-out text, in nats a masked piece; the masks are fixed by the seed.

    Args:
        attachment: A plan with a masked-LM head.
        text: The held-out text.
        vocabulary: Sorted ids of the pieces that are scored, or None for all.
        masking: How many pieces are hidden, and how.
        seed: Which pieces are hidden.
        num_negatives: How many of the other pieces are scored too, as `Decoder` says; the same ones in all batches.
        chances: How likely the base holds each piece, as `Decoder` says.

    Raises:
        BaseModelError: The base is causal.
    """
    attachment.base.check_guesses("mlm")
    decoder = Decoder(attachment, vocabulary, num_negatives=num_negatives, chances=chances)
    hide = _make_hide(attachment.base, vocabulary, masking=masking, seed=seed)
    return _measure(attachment, text, decoder, hide, seed=seed)


def measure_causal_lm(
    attachment: Attachment,
    text: EncodedText,
    *,
    vocabulary: Tensor | None,
    seed: int = 0,
    num_negatives: int = 0,
    chances: NDArray[np.float64] | None = None,
) -> TextLoss:
    """Measure the loss of guessing the next piece on held-out text, in nats a piece; the first of a row is not guessed.

    Args:
        attachment: A plan on a causal base, with a head that scores pieces.
        text: The held-out text.
        vocabulary: Sorted ids of the pieces that are scored, or None for all.
        seed: Which other pieces are drawn.
        num_negatives: How many of the other pieces are scored too, as `Decoder` says; the same ones in all batches.
        chances: How likely the base holds each piece, as `Decoder` says.

    Raises:
        BaseModelError: The base is not causal.
        DataError: No row has two tokens.
    """
    attachment.base.check_guesses("causal")
    decoder = Decoder(attachment, vocabulary, num_negatives=num_negatives, chances=chances)
    return _measure(
        attachment, drop_single_tokens(text), decoder, lambda batch, _: shift_batch(batch), seed=seed
    )


def measure_rows(
    attachment: Attachment,
    text: EncodedText,
    *,
    vocabulary: Tensor | None,
    masking: Masking,
    seed: int = 0,
    num_negatives: int = 0,
    chances: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Measure the loss of each row of held-out text: its nats, and how many of its pieces were to be guessed [R, 2].

    Summed over the rows, this is `measure_masked_lm`, or `measure_causal_lm` on a causal base; there, rows of one token
    are left out.

    Args:
        attachment: A plan with a head that scores pieces.
        text: The held-out text.
        vocabulary: Sorted ids of the pieces that are scored, or None for all.
        masking: How many pieces are hidden, and how; without meaning on a causal base.
        seed: Which pieces are hidden, and which other ones are drawn.
        num_negatives: How many of the other pieces are scored too; the same ones in all batches.
        chances: How likely the base holds each piece, as `Decoder` says.

    Raises:
        DataError: The base is causal and no row has two tokens.
    """
    base = attachment.base
    decoder = Decoder(attachment, vocabulary, num_negatives=num_negatives, chances=chances)
    decoder.draw(seed=seed, step=0)
    ask = _make_hide(base, vocabulary, masking=masking, seed=seed)
    if base.guesses == "causal":
        text, ask = drop_single_tokens(text), lambda batch, _: shift_batch(batch)
    found = np.zeros((text.num_rows, 2))
    with torch.inference_mode():
        for number, rows in enumerate(plan_eval_batches(text.lengths, token_budget=BATCH_TOKENS)):
            asked = ask(collate(text, rows, pad_id=base.pad_id), number).to(base.device)
            found[rows, 0] = sum_piece_loss_of_rows(attachment, asked, decoder).cpu().numpy()
            found[rows, 1] = count_guessed(asked).cpu().numpy()
    return found


def _make_hide(
    base: Base, vocabulary: Tensor | None, *, masking: Masking, seed: int
) -> Callable[[Batch, int], GuessBatch]:
    """Make what hides pieces of a numbered batch."""

    def hide(batch: Batch, number: int) -> GuessBatch:
        return mask_batch(
            batch,
            masking=masking,
            seed=seed,
            step=number,
            mask_id=base.mask_id,
            special_ids=base.special_ids,
            vocabulary=vocabulary,
        )

    return hide


def _measure(
    attachment: Attachment,
    text: EncodedText,
    decoder: Decoder,
    ask: Callable[[Batch, int], GuessBatch],
    *,
    seed: int,
) -> TextLoss:
    base = attachment.base
    decoder.draw(seed=seed, step=0)
    total, count = 0.0, 0
    with torch.inference_mode():
        for number, rows in enumerate(plan_eval_batches(text.lengths, token_budget=BATCH_TOKENS)):
            asked = ask(collate(text, rows, pad_id=base.pad_id), number).to(base.device)
            total += float(sum_piece_loss(attachment, asked, decoder))
            count += len(asked.targets)
    return TextLoss(loss=total / max(1, count), num_targets=count)
