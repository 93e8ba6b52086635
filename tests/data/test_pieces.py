from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.tokenizer import BOS, EOS, UNK, ids, piece_tokenizer, word_tokenizer

from polygraft.data.pieces import (
    add_frame,
    count_up,
    row_starts,
    special_frame,
    tokenize_texts,
    tokenize_words,
)
from polygraft.errors import DataError, OptionError


@given(st.lists(st.integers(0, 9), max_size=20))
def test_counting_up_restarts_with_each_run(sizes: list[int]):
    assert count_up(np.array(sizes, dtype=np.int64)).tolist() == [i for size in sizes for i in range(size)]
    assert np.diff(row_starts(np.array(sizes, dtype=np.int64))).tolist() == sizes


def test_the_frame_is_what_the_tokenizer_puts_around_text():
    prefix, suffix, room = special_frame(piece_tokenizer(), max_length=16)
    assert (prefix.tolist(), suffix.tolist(), room) == ([BOS], [EOS], 14)


def test_a_tokenizer_without_special_tokens_has_an_empty_frame():
    prefix, suffix, room = special_frame(word_tokenizer(), max_length=16)
    assert (prefix.tolist(), suffix.tolist(), room) == ([], [], 16)


def test_a_frame_that_leaves_no_room_is_refused():
    with pytest.raises(OptionError) as caught:
        special_frame(piece_tokenizer(), max_length=2)
    assert str(caught.value) == (
        "max_length is 2, which leaves no room beside 2 special tokens. At least 3 was expected. "
        "Give a larger one, for example 128."
    )


def test_rows_stand_between_their_special_tokens():
    found, starts, inside = add_frame(
        np.array([7, 8, 9], dtype=np.int32),
        np.array([1, 0, 2]),
        prefix=np.array([0], dtype=np.int32),
        suffix=np.array([2, 2], dtype=np.int32),
    )
    assert found.tolist() == [0, 7, 2, 2, 0, 2, 2, 0, 8, 9, 2, 2]
    assert starts.tolist() == [0, 4, 7, 12]
    assert inside.tolist() == [1, 8, 9]


def test_more_texts_than_a_chunk_stay_in_order():
    texts = ["wasi", "Cusco Lima", ""] * 4000
    pieces, sizes = tokenize_texts(texts, piece_tokenizer())
    assert sizes.tolist() == [1, 2, 0] * 4000
    assert pieces.tolist() == ids("▁wasi", "▁Cusco", "▁Lima") * 4000


words = st.sampled_from(
    ["Cusco", "wasikuna", "llaqtapi", "x", "9", "ñ", "manta", "ab,c", "\u200b", "wasi pi"]
)


@given(st.lists(words, min_size=1, max_size=12))
def test_words_have_the_pieces_that_they_have_in_their_sentence(sentence: list[str]):
    pieces, sizes = tokenize_words(sentence, piece_tokenizer())
    reference = piece_tokenizer()(sentence, is_split_into_words=True, add_special_tokens=False)
    assert pieces.tolist() == reference["input_ids"]
    assert np.repeat(np.arange(len(sentence)), sizes).tolist() == reference.word_ids()


def test_a_word_of_no_pieces_becomes_the_unknown_token():
    pieces, sizes = tokenize_words(["wasi", "\x7f", "\x7f", "Lima", "\x01"], piece_tokenizer())
    assert pieces.tolist() == [*ids("▁wasi"), UNK, UNK, *ids("▁Lima"), UNK]
    assert sizes.tolist() == [1, 1, 1, 1, 1]


def test_a_word_of_no_pieces_without_an_unknown_token_is_refused():
    with pytest.raises(DataError) as caught:
        tokenize_words(["wasi", "zzz"], word_tokenizer())
    assert str(caught.value) == (
        "The tokenizer turns the word 'zzz' into no token and has no unknown token. Every word needs at "
        "least one token for its tag. Remove the word or take another base."
    )
