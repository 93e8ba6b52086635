"""How finely a tokenizer cuts a text: pieces a word, and how many of them say little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from polygraft.data.words import split_words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CHUNK = 8192


@dataclass(frozen=True, kw_only=True)
class Fertility:
    """What became of the words of a text."""

    num_words: int
    """Words, numbers and marks."""
    num_pieces: int
    """Pieces, without special ones around a line."""
    num_single: int
    """Pieces of one character, blanks not counted; a byte of a character is one."""
    num_unknown: int
    """Pieces that stand for what the tokenizer does not know."""

    @property
    def tokens_per_word(self) -> float:
        """Pieces over words: the fertility of the tokenizer in the text's language (Rust et al. 2021)."""
        return self.num_pieces / max(self.num_words, 1)

    @property
    def single_share(self) -> float:
        """Share of the pieces that are one character."""
        return self.num_single / max(self.num_pieces, 1)

    @property
    def unknown_share(self) -> float:
        """Share of the pieces that are the unknown one."""
        return self.num_unknown / max(self.num_pieces, 1)


def measure_fertility(lines: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Fertility:
    """Count words and pieces of a text.

    Words are those of `split_words`: in a script without spaces, Chinese and Japanese excepted, a whole stretch of
    letters is one word, and the number of pieces a word says little.

    Args:
        lines: The text.
        tokenizer: A fast tokenizer.
    """
    num_pieces = num_single = num_unknown = 0
    for start in range(0, len(lines), _CHUNK):
        some = list(lines[start : start + _CHUNK])
        encoded = tokenizer(
            some,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        for line, ids, spans in zip(
            some,
            cast("list[list[int]]", encoded["input_ids"]),
            cast("list[list[tuple[int, int]]]", encoded["offset_mapping"]),
            strict=True,
        ):
            num_pieces += len(ids)
            num_unknown += sum(piece == tokenizer.unk_token_id for piece in ids)
            num_single += sum(len(line[first:last].strip()) == 1 for first, last in spans)
    return Fertility(
        num_words=sum(len(split_words(line)) for line in lines),
        num_pieces=num_pieces,
        num_single=num_single,
        num_unknown=num_unknown,
    )
