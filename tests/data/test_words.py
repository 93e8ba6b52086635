from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polygraft.data.words import split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  \t ", []),
        ("Mariaqa Cuscopi kawsan.", ["Mariaqa", "Cuscopi", "kawsan", "."]),
        ("T'antata, “rantini”!", ["T'antata", ",", "“", "rantini", "”", "!"]),
        ("Jean-Paul paid 1,200.50 -", ["Jean-Paul", "paid", "1,200.50", "-"]),
        ("Ọlọ́run ẹ́", ["Ọlọ́run", "ẹ́"]),
        ("東京へ Tokyo", ["東", "京", "へ", "Tokyo"]),
        ("हिन्दी।", ["हिन्दी", "।"]),
        ("dogs' 'tis", ["dogs", "'", "'", "tis"]),
    ],
)
def test_text_is_split_into_words_and_punctuation(text: str, words: list[str]) -> None:
    assert [word.text for word in split_words(text)] == words


@given(st.text())
def test_every_word_stands_where_it_says(text: str) -> None:
    words = split_words(text)
    assert all(text[word.start : word.end] == word.text != "" for word in words)
    assert all(one.end <= other.start for one, other in itertools.pairwise(words))
