"""Lines of a text one after the other, cut into rows that are full."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from polygraft.data.encode import EncodedText
from polygraft.data.pieces import add_frame, row_starts, special_frame

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def join_lines(text: EncodedText, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> EncodedText:
    """Put the lines of a text one after the other, a separator between them, and cut them into full rows.

    Each row begins and ends with the special tokens that the tokenizer puts around a single one, and may begin inside
    a line, as those may on which most bases were pretrained (`group_texts` in the example script `run_mlm.py` of
    transformers cuts likewise). The last row has what is left. Rows of special and unknown tokens only are left out,
    as `encode_text` leaves them out.

    Args:
        text: What `encode_text` made of the lines, with the same tokenizer; rows of any length.
        tokenizer: The base's fast tokenizer.
        max_length: Number of tokens of a row, special tokens included.

    Raises:
        OptionError: `max_length` leaves no room, or the tokenizer is not a fast one.
    """
    prefix, suffix, room = special_frame(tokenizer, max_length=max_length)
    separator = find_separator(tokenizer, prefix=prefix, suffix=suffix)
    inside = np.ones(text.num_tokens, dtype=np.bool_)
    inside[text.starts[:-1, None] + np.arange(len(prefix))] = False
    inside[text.starts[1:, None] - len(suffix) + np.arange(len(suffix))] = False
    ends = row_starts(text.lengths - len(prefix) - len(suffix))[1:-1]
    if text.goes_on is not None:
        ends = ends[~text.goes_on[1:]]
    stream = np.insert(
        text.ids[inside], np.repeat(ends, len(separator)), np.tile(separator, len(ends)).astype(np.int32)
    )
    cuts = np.arange(0, len(stream), room)
    sizes = np.diff(cuts, append=len(stream))
    known = ~np.isin(stream, np.asarray(tokenizer.all_special_ids, dtype=np.int32))
    keep = np.logical_or.reduceat(known, cuts)
    ids, starts, _ = add_frame(stream[np.repeat(keep, sizes)], sizes[keep], prefix=prefix, suffix=suffix)
    return EncodedText(ids=ids, starts=starts)


def find_separator(
    tokenizer: PreTrainedTokenizerBase, *, prefix: NDArray[np.int32], suffix: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Give the tokens between two lines: those that end a row, as `[SEP]` or `</s>`.

    Where no token ends a row, it is the tokenizer's end token, as GPT-2's `<|endoftext|>`; where there is none either,
    what begins a row.

    Args:
        tokenizer: The base's tokenizer.
        prefix: The special tokens before a row.
        suffix: The special tokens behind it.
    """
    if len(suffix):
        return suffix
    end = tokenizer.eos_token_id
    return np.asarray([end], dtype=np.int32) if isinstance(end, int) else prefix
