"""Which tokens a causal language model has to guess: each that has one before it."""

from __future__ import annotations

import numpy as np

from polygraft.data.collate import Batch
from polygraft.data.encode import EncodedText
from polygraft.data.guess_batch import GuessBatch
from polygraft.data.pieces import row_starts
from polygraft.errors import DataError


def shift_batch(batch: Batch) -> GuessBatch:
    """Let each token of a batch but the last of its row guess the one behind it; nothing is hidden.

    Args:
        batch: Rows that are padded on the right.
    """
    is_piece = batch.attention_mask.bool()
    # A token has a target where the place behind it is not padding.
    has_next = is_piece.clone()
    has_next[:, :-1] &= is_piece[:, 1:]
    has_next[:, -1] = False
    positions = has_next.flatten().nonzero().flatten()
    return GuessBatch(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        positions=positions,
        targets=batch.input_ids.flatten()[positions + 1],
    )


def drop_single_tokens(text: EncodedText, *, source: str = "the text") -> EncodedText:
    """Leave out rows of one token, in which there is nothing to guess.

    Args:
        text: The text.
        source: What it is called, for the message.

    Raises:
        DataError: No row is left.

    Example:
        >>> text = EncodedText(ids=np.array([7, 5, 6], dtype=np.int32), starts=np.array([0, 1, 3]))
        >>> drop_single_tokens(text).ids.tolist()
        [5, 6]
    """
    lengths = text.lengths
    kept = lengths > 1
    if kept.all():
        return text
    if not kept.any():
        raise DataError(
            f"All {text.num_rows} rows of {source} have one token, so that no next one can be guessed. Expected rows "
            "of two tokens or more. Give longer lines."
        )
    return EncodedText(
        ids=text.ids[np.repeat(kept, lengths)],
        starts=row_starts(lengths[kept]),
        num_cut_rows=text.num_cut_rows,
        num_cut_tokens=text.num_cut_tokens,
    )
