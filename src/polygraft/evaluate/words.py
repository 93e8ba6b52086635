"""Sentences as a base reads them, and the labels of their pieces as labels of their words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polygraft.data.encode import encode_tags
from polygraft.data.example import TaggedSentence

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ANY_LABEL = ("O",)
"""What stands for the labels of sentences that have none yet."""


class EncodedWords:
    """The sentences among some that have words, encoded.

    Args:
        sentences: The words of each; at least one sentence has some.
        tokenizer: The base's fast tokenizer.
        max_length: Largest number of tokens of a row; words past it are cut.
    """

    def __init__(
        self, sentences: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, *, max_length: int
    ) -> None:
        self.places = [place for place, words in enumerate(sentences) if words]
        """Which of the sentences each encoded row is."""
        tagged = [
            TaggedSentence(tuple(sentences[place]), ANY_LABEL * len(sentences[place]), 0)
            for place in self.places
        ]
        self.encoded = encode_tags(tagged, tokenizer, labels=ANY_LABEL, max_length=max_length)
        self._first_pieces = self.encoded.first_pieces

    def spread(self, row: int, labels: Sequence[str], *, rest: str) -> tuple[tuple[str, ...], int]:
        """Give every word of a row its label, and count the words that were cut.

        Args:
            row: The encoded row.
            labels: What was found at the first piece of each word that was not cut, in order.
            rest: The label of the words that were cut.
        """
        span = slice(self.encoded.starts[row], self.encoded.starts[row + 1])
        words = self.encoded.word_of[span][self._first_pieces[span]]
        spread = [rest] * int(self.encoded.num_words[row])
        for word, label in zip(words.tolist(), labels, strict=True):
            spread[word] = label
        return tuple(spread), len(spread) - len(words)
