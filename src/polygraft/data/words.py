"""Splits raw text into words and punctuation, and remembers where each one stands."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

JOINERS = frozenset("'\u2019\u02bc\u2018-\u2010\u2011\u00b7")
"""Inside a word where a letter stands on both sides: t'anta, Jean-Paul."""
DIGIT_JOINERS = frozenset(".,:/")
"""Inside a number where a digit stands on both sides: 1,200.50."""
UNSPACED = ("CJK UNIFIED", "HIRAGANA", "KATAKANA")


@dataclass(frozen=True, slots=True)
class Word:
    """A word or a punctuation mark of a text.

    Args:
        text: Its characters.
        start: Number of its first character in the text.
        end: Number of the character after its last, so that `text[start:end]` is the word.
    """

    text: str
    start: int
    end: int


def split_words(text: str) -> list[Word]:
    """Split text at spaces, and put every punctuation mark by itself, as tagged corpora do.

    Apostrophes and hyphens between letters stay inside their word, combining marks with their letter. In
    scripts without spaces (Chinese, Japanese) each character is a word.

    Args:
        text: A sentence or more.

    Example:
        >>> [word.text for word in split_words("T'antata rantini, Cuscopi.")]
        ["T'antata", 'rantini', ',', 'Cuscopi', '.']
    """
    words: list[Word] = []
    start: int | None = None
    for place, character in enumerate(text):
        inside = start is not None
        if _is_letter(character) and not _is_unspaced(character):
            start = place if start is None else start
            continue
        if inside and _joins(text, place):
            continue
        if start is not None:
            words.append(Word(text[start:place], start, place))
            start = None
        if not character.isspace() and unicodedata.category(character) not in ("Cc", "Cf"):
            words.append(Word(character, place, place + 1))
    if start is not None:
        words.append(Word(text[start:], start, len(text)))
    return words


def _is_letter(character: str) -> bool:
    return character.isalnum() or character == "_" or unicodedata.category(character).startswith("M")


def _is_unspaced(character: str) -> bool:
    return character > "\u2fff" and unicodedata.name(character, "").startswith(UNSPACED)


def _joins(text: str, place: int) -> bool:
    if place + 1 >= len(text):
        return False
    before, after = text[place - 1], text[place + 1]
    if text[place] in JOINERS:
        return _is_letter(before) and _is_letter(after) and not _is_unspaced(after)
    return text[place] in DIGIT_JOINERS and before.isdigit() and after.isdigit()
