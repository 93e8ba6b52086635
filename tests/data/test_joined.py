"""Joined lines against a plain loop over lines."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.test_encode import lines, rows_of
from tests.data.tokenizer import BOS, EOS, PAD, ids, piece_tokenizer, word_tokenizer
from tests.tiny import make_tokenizer
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from polygraft.data.encode import encode_text
from polygraft.data.joined import join_lines
from polygraft.errors import OptionError


class Kind(NamedTuple):
    """A tokenizer, and what it is to put before, between and behind lines."""

    tokenizer: PreTrainedTokenizerFast
    begin: list[int]
    between: list[int]
    end: list[int]


def make(single: str, **named: str) -> PreTrainedTokenizerFast:
    """The tokenizer of pieces with other special tokens around a row."""
    made = piece_tokenizer.__wrapped__().backend_tokenizer
    made.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[("<s>", BOS), ("</s>", EOS), ("<pad>", PAD)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", pad_token="<pad>", **named)


NAMED = {"bos_token": "<s>", "eos_token": "</s>"}
KINDS = {
    "[CLS] and [SEP]": Kind(piece_tokenizer(), [BOS], [EOS], [EOS]),
    "two at the end": Kind(make("<s> $A </s> <pad>", **NAMED), [BOS], [EOS, PAD], [EOS, PAD]),
    "end alone": Kind(make("$A </s>", **NAMED), [], [EOS], [EOS]),
    "begin alone": Kind(make("<s> $A", **NAMED), [BOS], [EOS], []),
    "begin alone, no end token": Kind(make("<s> $A", bos_token="<s>"), [BOS], [BOS], []),
    "nothing": Kind(make("$A", **NAMED), [], [EOS], []),
    "nothing, no end token": Kind(make("$A"), [], [], []),
}


def join_plainly(texts: list[str], kind: Kind, *, max_length: int) -> list[list[int]]:
    """Line by line, piece by piece."""
    special, stream = set(kind.tokenizer.all_special_ids), []
    for text in texts:
        pieces = kind.tokenizer(text, add_special_tokens=False)["input_ids"]
        if not set(pieces) - special:
            continue
        if stream:
            stream += kind.between
        stream += pieces
    room, rows = max_length - len(kind.begin) - len(kind.end), []
    while stream:
        row, stream = stream[:room], stream[room:]
        if set(row) - special:
            rows.append([*kind.begin, *row, *kind.end])
    return rows


@pytest.mark.parametrize("name", KINDS)
@given(lines, st.integers(4, 40), st.integers(4, 40))
def test_lines_are_joined_as_by_a_loop_however_they_were_cut_before(
    name: str, texts: list[list[str]], before: int, max_length: int
):
    kind, joined = KINDS[name], [" ".join(words) for words in texts]
    text = encode_text(joined, kind.tokenizer, max_length=before)
    found = join_lines(text, kind.tokenizer, max_length=max_length)
    assert rows_of(found) == join_plainly(joined, kind, max_length=max_length)
    assert (found.ids.dtype, found.starts.dtype) == (np.int32, np.int64)


unknown = st.lists(st.lists(st.sampled_from(["ana", "lima", "zz", "xx", "yy"]), max_size=9), max_size=9)


@given(unknown, st.integers(3, 12))
def test_lines_and_rows_without_a_known_token_are_left_out(texts: list[list[str]], max_length: int):
    kind = Kind(make_tokenizer(), [0], [2], [2])
    joined = ["ana", *(" ".join(words) for words in texts)]
    text = encode_text(joined, kind.tokenizer, max_length=100)
    found = join_lines(text, kind.tokenizer, max_length=max_length)
    assert rows_of(found) == join_plainly(joined, kind, max_length=max_length)


def test_rows_are_full_but_the_last_and_may_begin_inside_a_line():
    text = encode_text(["Cusco wasikuna", "Lima", "hatun llaqta"], piece_tokenizer())
    assert rows_of(join_lines(text, piece_tokenizer(), max_length=6)) == [
        [BOS, *ids("▁Cusco", "▁wasi", "kuna"), EOS, EOS],
        [BOS, *ids("▁Lima"), EOS, *ids("▁hatun", "▁llaqta"), EOS],
    ]
    assert join_lines(text, piece_tokenizer(), max_length=5).lengths.tolist() == [5, 5, 4]


def test_a_text_shorter_than_one_row_is_one_row():
    text = encode_text(["Cusco wasikuna", "Lima"], piece_tokenizer())
    assert rows_of(join_lines(text, piece_tokenizer(), max_length=128)) == [
        [BOS, *ids("▁Cusco", "▁wasi", "kuna"), EOS, *ids("▁Lima"), EOS]
    ]


def test_no_separator_stands_inside_a_line_that_was_cut():
    text = encode_text([" ".join(["wasi"] * 11), "Lima"], piece_tokenizer(), max_length=7)
    assert text.lengths.tolist() == [5, 6, 6, 3]
    assert rows_of(join_lines(text, piece_tokenizer(), max_length=20)) == [
        [BOS, *ids("▁wasi") * 11, EOS, *ids("▁Lima"), EOS]
    ]


def test_pieces_of_a_tokenizer_without_special_tokens_are_only_cut():
    # Its pieces are a, w, s and i.
    text = encode_text(["a wasi", "si", "a"], word_tokenizer())
    assert rows_of(join_lines(text, word_tokenizer(), max_length=3)) == [[0, 2, 0], [3, 4, 3], [4, 0]]


def test_a_length_without_room_is_refused():
    text = encode_text(["Lima"], piece_tokenizer())
    with pytest.raises(OptionError) as caught:
        join_lines(text, piece_tokenizer(), max_length=2)
    assert str(caught.value) == (
        "max_length is 2, which leaves no room beside 2 special tokens. At least 3 was expected. Give a larger one, "
        "for example 128."
    )
