"""Pieces of text from a tokenizer, in flat arrays, and the special tokens around them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from polygraft.errors import DataError, OptionError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CHUNK = 8192


def special_frame(
    tokenizer: PreTrainedTokenizerBase, *, max_length: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    """Give the special tokens before and after a sentence, and the room that they leave in a row."""
    if not tokenizer.is_fast:
        raise OptionError(
            f"The tokenizer {type(tokenizer).__name__} is not a fast one. Tokenizers with a tokenizer.json "
            "are supported. Load the base with its fast tokenizer."
        )
    for probe in ("a", "0", ".", str(tokenizer.unk_token)):
        inner: list[int] = tokenizer(probe, add_special_tokens=False)["input_ids"]
        framed: list[int] = tokenizer(probe, add_special_tokens=True)["input_ids"]
        places = [at for at in range(len(framed)) if inner and framed[at : at + len(inner)] == inner]
        if places:
            at, end = places[0], places[0] + len(inner)
            room = max_length - len(framed) + len(inner)
            break
    else:
        raise OptionError(
            "The tokenizer gives no tokens for 'a', '0' and '.'. A tokenizer with a vocabulary was expected. "
            "Check the base's tokenizer files."
        )
    if room < 1:
        least = max_length - room + 1
        raise OptionError(
            f"max_length is {max_length}, which leaves no room beside {least - 1} special tokens. "
            f"At least {least} was expected. Give a larger one, for example 128."
        )
    return np.asarray(framed[:at], dtype=np.int32), np.asarray(framed[end:], dtype=np.int32), room


def tokenize_texts(
    texts: Sequence[str] | Sequence[list[str]], tokenizer: PreTrainedTokenizerBase, *, split: bool = False
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Give all pieces of all texts in one array, and the number of pieces of each text."""
    pieces: list[NDArray[np.int32]] = [np.empty(0, dtype=np.int32)]
    sizes: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
    for start in range(0, len(texts), _CHUNK):
        rows: list[list[int]] = tokenizer(
            cast("list[str] | list[list[str]]", list(texts[start : start + _CHUNK])),
            is_split_into_words=split,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        size = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        pieces.append(np.fromiter(chain.from_iterable(rows), dtype=np.int32, count=int(size.sum())))
        sizes.append(size)
    return np.concatenate(pieces), np.concatenate(sizes)


def tokenize_words(
    words: Iterable[str], tokenizer: PreTrainedTokenizerBase
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Tokenize each different word once: a word that stands alone has the same pieces wherever it stands."""
    table: dict[str, int] = {}
    which = np.fromiter((table.setdefault(word, len(table)) for word in words), dtype=np.int64)
    pieces, sizes = tokenize_texts([[word] for word in table], tokenizer, split=True)
    if not sizes.all():
        unknown_id = tokenizer.unk_token_id
        if not isinstance(unknown_id, int):
            word = list(table)[int(np.argmin(sizes))]
            raise DataError(
                f"The tokenizer turns the word {word!r} into no token and has no unknown token. Every word "
                "needs at least one token for its tag. Remove the word or take another base."
            )
        pieces = np.insert(pieces, row_starts(sizes)[:-1][sizes == 0], unknown_id)
        sizes = np.maximum(sizes, 1)
    word_sizes = sizes[which]
    return pieces[np.repeat(row_starts(sizes)[which], word_sizes) + count_up(word_sizes)], word_sizes


def add_frame(
    pieces: NDArray[np.int32],
    sizes: NDArray[np.int64],
    *,
    prefix: NDArray[np.int32],
    suffix: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Put the special tokens around each row; give ids, starts and the places of the pieces."""
    starts = row_starts(sizes + len(prefix) + len(suffix))
    inside = np.repeat(starts[:-1] + len(prefix), sizes) + count_up(sizes)
    ids = np.empty(int(starts[-1]), dtype=np.int32)
    ids[inside] = pieces
    ids[starts[:-1, None] + np.arange(len(prefix))] = prefix
    ids[starts[1:, None] - len(suffix) + np.arange(len(suffix))] = suffix
    return ids, starts, inside


def row_starts(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give 0 and the running sums of the sizes."""
    starts = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=starts[1:])
    return starts


def count_up(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give 0, 1, ... for each of the sizes, one run after the other."""
    starts = row_starts(sizes)
    return np.arange(int(starts[-1]), dtype=np.int64) - np.repeat(starts[:-1], sizes)
