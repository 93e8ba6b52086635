from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.tokenizer import BOS, EOS, UNK, ids, piece_tokenizer
from tests.tiny import make_tokenizer

from polygraft.data.encode import (
    IGNORE,
    collect_labels,
    encode_labelled,
    encode_tags,
    encode_text,
    unknown_tags,
)
from polygraft.data.example import LabelledText, TaggedSentence
from polygraft.errors import DataError, OptionError

LABELS = ("O", "B-LOC", "I-LOC")


def rows_of(encoded, values=None) -> list[list[int]]:
    flat = encoded.ids if values is None else values
    return [part.tolist() for part in np.split(flat, encoded.starts[1:-1])]


def tagged(tokens: str, tags: str, line: int = 1) -> TaggedSentence:
    return TaggedSentence(tuple(tokens.split()), tuple(tags.split()), line)


def test_text_becomes_rows_between_special_tokens():
    encoded = encode_text(["Cusco wasikuna", "Lima"], piece_tokenizer())
    assert rows_of(encoded) == [
        [BOS, *ids("▁Cusco", "▁wasi", "kuna"), EOS],
        [BOS, *ids("▁Lima"), EOS],
    ]
    assert (encoded.num_rows, encoded.num_tokens, encoded.lengths.tolist()) == (2, 8, [5, 3])
    assert (encoded.ids.dtype, encoded.starts.dtype) == (np.int32, np.int64)
    assert (encoded.num_cut_rows, encoded.num_cut_tokens) == (0, 0)


lines = st.lists(
    st.lists(st.sampled_from(["Cusco", "wasi", "llaqtapi", "abc", "hatun"]), min_size=1, max_size=30),
    min_size=1,
)


@given(lines, st.integers(3, 20))
def test_long_lines_are_split_and_nothing_is_lost(texts: list[list[str]], max_length: int):
    texts = [" ".join(words) for words in texts]
    encoded = encode_text(texts, piece_tokenizer(), max_length=max_length)
    whole = piece_tokenizer()(texts, add_special_tokens=False)["input_ids"]
    rows = rows_of(encoded)
    assert all(row[0] == BOS and row[-1] == EOS and 3 <= len(row) <= max_length for row in rows)
    assert [piece for row in rows for piece in row[1:-1]] == [piece for line in whole for piece in line]
    room = max_length - 2
    assert len(rows) == sum(-(-len(line) // room) for line in whole)
    assert encoded.num_cut_rows == sum(len(line) > room for line in whole)


def test_a_split_line_has_rows_of_nearly_equal_lengths():
    encoded = encode_text([" ".join(["wasi"] * 11)], piece_tokenizer(), max_length=7)
    assert encoded.lengths.tolist() == [5, 6, 6]


def test_lines_of_unknown_tokens_are_left_out():
    encoded = encode_text(["999", "wasi", "\x7f", "<mask> <pad>"], piece_tokenizer())
    assert [row[1:-1] for row in rows_of(encoded) if len(row) == 3] == [ids("▁wasi")]
    assert all(set(row) - {BOS, EOS, UNK} for row in rows_of(encoded))


def test_rows_that_go_on_with_a_line_are_known():
    encoded = encode_text(["Lima", " ".join(["wasi"] * 11), "Cusco"], piece_tokenizer(), max_length=7)
    assert encoded.goes_on is not None
    assert encoded.goes_on.tolist() == [False, False, True, True, False]
    assert encode_text(["Lima", "wasi"], piece_tokenizer()).goes_on is None


def test_the_first_row_of_a_line_that_is_left_goes_on_with_none():
    words = ["zz zz zz ana ana ana", "ana ana ana zz zz zz lima lima lima"]
    encoded = encode_text(words, make_tokenizer(), max_length=5)
    assert encoded.num_rows == 3
    assert encoded.goes_on is not None
    assert encoded.goes_on.tolist() == [False, False, True]


def test_text_without_any_known_token_is_refused():
    with pytest.raises(DataError) as caught:
        encode_text(["\x7f", ""], piece_tokenizer())
    assert str(caught.value) == (
        "None of the 2 lines of the data has a token that the tokenizer knows. Text in the tokenizer's script was "
        "expected. Check the file, or take a base that was trained on this script."
    )


def test_a_truncating_tokenizer_file_cuts_nothing():
    tokenizer = piece_tokenizer.__wrapped__()
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=4, pad_id=1)
    encoded = encode_text([" ".join(["wasi"] * 10), "Lima"], tokenizer)
    assert encoded.lengths.tolist() == [12, 3]


def test_tags_stand_at_the_first_piece_of_each_word():
    examples = [tagged("Cuscopi wasikuna x", "B-LOC O I-LOC"), tagged("Lima", "B-LOC")]
    encoded = encode_tags(examples, piece_tokenizer(), labels=LABELS)
    assert rows_of(encoded)[0] == [BOS, *ids("▁Cusco", "pi", "▁wasi", "kuna", "▁", "x"), EOS]
    assert rows_of(encoded, encoded.labels) == [
        [IGNORE, 1, IGNORE, 0, IGNORE, 2, IGNORE, IGNORE],
        [IGNORE, 1, IGNORE],
    ]
    assert rows_of(encoded, encoded.word_of) == [[-1, 0, 0, 1, 1, 2, 2, -1], [-1, 0, -1]]
    assert encoded.num_words.tolist() == [3, 1]
    assert (encoded.first_pieces == (encoded.labels != IGNORE)).all()


@given(st.lists(st.lists(st.sampled_from(["Cusco", "wasikuna", "abc", "\x7f", "9"]), min_size=1), min_size=1))
def test_every_word_has_one_first_piece_and_it_has_its_tag(sentences: list[list[str]]):
    examples = [TaggedSentence(tuple(words), tuple(words), 0) for words in sentences]
    labels = collect_labels(examples)
    encoded = encode_tags(examples, piece_tokenizer(), labels=labels, max_length=10_000)
    assert [labels[number] for number in encoded.labels[encoded.first_pieces]] == [
        word for words in sentences for word in words
    ]
    assert encoded.word_of[encoded.first_pieces].tolist() == [
        place for words in sentences for place in range(len(words))
    ]


def test_words_past_the_end_of_a_row_are_cut_and_counted():
    examples = [
        tagged("wasikuna Cusco Lima hatun", "O B-LOC I-LOC O"),
        tagged("wasi", "O"),
        tagged("abcdefgh Lima", "O O"),
    ]
    encoded = encode_tags(examples, piece_tokenizer(), labels=LABELS, max_length=5)
    assert rows_of(encoded) == [
        [BOS, *ids("▁wasi", "kuna", "▁Cusco"), EOS],
        [BOS, *ids("▁wasi"), EOS],
        [BOS, *ids("▁", "a", "b"), EOS],
    ]
    assert rows_of(encoded, encoded.word_of) == [[-1, 0, 0, 1, -1], [-1, 0, -1], [-1, 0, 0, 0, -1]]
    assert (encoded.num_cut_rows, encoded.num_cut_tokens) == (2, 3)
    assert encoded.num_words.tolist() == [4, 1, 2]


def test_an_unknown_tag_is_refused_in_training_and_ignored_in_evaluation():
    examples = [tagged("wasi", "O"), tagged("Cusco Lima", "B-LOC B-LOK", line=40)]
    with pytest.raises(DataError) as caught:
        encode_tags(examples, piece_tokenizer(), labels=LABELS, source="train.conll")
    assert str(caught.value) == (
        "train.conll, line 41: the tag 'B-LOK' is not among the 3 that are trained: O, B-LOC, I-LOC. "
        "Did you mean 'B-LOC'? Correct the file, or add the tag to the labels."
    )
    encoded = encode_tags(examples, piece_tokenizer(), labels=LABELS, unknown="ignore")
    assert rows_of(encoded, encoded.labels)[1] == [IGNORE, 1, IGNORE, IGNORE]
    assert encoded.first_pieces.sum() == 3


def test_no_sentences_are_refused():
    with pytest.raises(DataError) as caught:
        encode_tags([], piece_tokenizer(), labels=LABELS, source="dev.conll")
    assert str(caught.value) == (
        "There are no sentences in dev.conll. At least one was expected. Check what was selected."
    )


def test_labelled_texts_are_one_row_each_and_cut():
    texts = [LabelledText("Cusco wasikuna Lima", "sports", 1), LabelledText("", "health", 2)]
    encoded = encode_labelled(texts, piece_tokenizer(), labels=("health", "sports"), max_length=4)
    assert rows_of(encoded) == [[BOS, *ids("▁Cusco", "▁wasi"), EOS], [BOS, EOS]]
    assert encoded.labels.tolist() == [1, 0]
    assert (encoded.num_cut_rows, encoded.num_cut_tokens) == (1, 2)


def test_an_unknown_label_is_refused_or_ignored():
    texts = [LabelledText("wasi", "sport", 7)]
    with pytest.raises(DataError) as caught:
        encode_labelled(texts, piece_tokenizer(), labels=("health", "sports"), source="train.tsv")
    assert str(caught.value) == (
        "train.tsv, line 7: the label 'sport' is not among the 2 that are trained: health, sports. "
        "Did you mean 'sports'? Correct the file, or add the label to the labels."
    )
    encoded = encode_labelled(texts, piece_tokenizer(), labels=("health",), unknown="ignore")
    assert encoded.labels.tolist() == [IGNORE]


def test_a_row_without_room_is_refused():
    with pytest.raises(OptionError, match="max_length is 1, which leaves no room beside 2 special tokens"):
        encode_text(["wasi"], piece_tokenizer(), max_length=1)


def test_labels_are_collected_with_o_first():
    examples = [tagged("a b c", "B-PER O B-LOC"), tagged("d", "A"), LabelledText("e", "sports", 1)]
    assert collect_labels(examples) == ("O", "A", "B-LOC", "B-PER", "sports")
    assert collect_labels([tagged("a b", "VERB NOUN")]) == ("NOUN", "VERB")
    assert unknown_tags(examples, ("O", "B-LOC", "X")) == ("A", "B-PER", "sports")
