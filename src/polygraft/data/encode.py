"""Text becomes token ids, in flat arrays that hold all rows one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from polygraft.data.example import LabelledText, TaggedSentence
from polygraft.data.pieces import (
    add_frame,
    count_up,
    row_starts,
    special_frame,
    tokenize_texts,
    tokenize_words,
)
from polygraft.errors import DataError, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORE = -100
"""The label of a position that no loss and no score looks at."""


@dataclass(frozen=True, kw_only=True)
class EncodedText:
    """Rows of token ids, one after the other.

    Args:
        ids: The ids of all rows, special tokens included.
        starts: Where each row starts in `ids`, and at the end where the last one ends.
        num_cut_rows: How many lines or sentences were longer than a row.
        num_cut_tokens: How many words or pieces were left out for that reason.
        goes_on: True at rows that go on with the line of the row before, which was longer than a row; None where no
            row does, or it is not known.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    num_cut_rows: int = 0
    num_cut_tokens: int = 0
    goes_on: NDArray[np.bool_] | None = None

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of tokens of each row, special tokens included."""
        return np.diff(self.starts)

    @cached_property
    def longest(self) -> int:
        """Number of tokens of the longest row; computed once."""
        return int(self.lengths.max(initial=0))

    @property
    def num_tokens(self) -> int:
        """Number of tokens of all rows together."""
        return len(self.ids)


@dataclass(frozen=True, kw_only=True)
class EncodedTags(EncodedText):
    """Rows of token ids with a label at the first piece of each word.

    Args:
        labels: The label's number at the first piece of a word, `IGNORE` everywhere else.
        word_of: The number of the word in its sentence at each of its pieces, -1 at special tokens.
        num_words: Words of each sentence, those that were cut off included.
    """

    labels: NDArray[np.int32]
    word_of: NDArray[np.int32]
    num_words: NDArray[np.int64]

    @property
    def first_pieces(self) -> NDArray[np.bool_]:
        """True at the first piece of each word, whether its tag is known or not."""
        before = np.empty_like(self.word_of)
        before[:1] = -1
        before[1:] = self.word_of[:-1]
        before[self.starts[:-1]] = -1
        return (self.word_of >= 0) & (self.word_of != before)


@dataclass(frozen=True, kw_only=True)
class EncodedLabels(EncodedText):
    """Rows of token ids with one label a row.

    Args:
        labels: The label's number for each row, or `IGNORE` for a label that is not known.
        num_cut: How many pieces of each row's text were left out.
    """

    labels: NDArray[np.int32]
    num_cut: NDArray[np.int64]


def encode_text(
    lines: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int = 128,
    source: str = "the data",
) -> EncodedText:
    """Turn lines of text into rows of token ids.

    A line of more than `max_length` tokens is cut into the fewest rows that hold it, of nearly equal lengths,
    so that nothing is lost. Rows of special and unknown tokens only are left out: nothing can be learned from
    them.

    Args:
        lines: The text.
        tokenizer: The base's fast tokenizer.
        max_length: Largest number of tokens of a row, special tokens included.
        source: The file's name, for messages.

    Raises:
        DataError: No line has a token that the tokenizer knows.
        OptionError: `max_length` leaves no room, or the tokenizer is not a fast one.
    """
    prefix, suffix, room = special_frame(tokenizer, max_length=max_length)
    pieces, lengths = tokenize_texts(lines, tokenizer)
    num_parts = -(-lengths // room)
    part_of_line = count_up(num_parts)
    whole, parts = np.repeat(lengths, num_parts), np.repeat(num_parts, num_parts)
    sizes = (part_of_line + 1) * whole // parts - part_of_line * whole // parts
    known = ~np.isin(pieces, np.asarray(tokenizer.all_special_ids, dtype=np.int32))
    row_of = np.repeat(np.arange(len(sizes)), sizes)
    keep = np.bincount(row_of[known], minlength=len(sizes)) > 0
    if not keep.any():
        raise DataError(
            f"None of the {len(lines)} lines of {source} has a token that the tokenizer knows. Text in the tokenizer's "
            "script was expected. Check the file, or take a base that was trained on this script."
        )
    ids, starts, _ = add_frame(pieces[keep[row_of]], sizes[keep], prefix=prefix, suffix=suffix)
    line_of = np.repeat(np.arange(len(lines)), num_parts)[keep]
    goes_on = np.diff(line_of, prepend=-1) == 0
    return EncodedText(
        ids=ids,
        starts=starts,
        num_cut_rows=int((num_parts > 1).sum()),
        goes_on=goes_on if goes_on.any() else None,
    )


def encode_tags(
    sentences: Sequence[TaggedSentence],
    tokenizer: PreTrainedTokenizerBase,
    *,
    labels: Sequence[str],
    max_length: int = 256,
    unknown: Literal["error", "ignore"] = "error",
    source: str = "the data",
) -> EncodedTags:
    """Turn tagged sentences into rows of token ids, with the tag at each word's first piece.

    A word that the tokenizer turns into nothing gets the unknown token, so that every word has a place for
    its tag.

    Args:
        sentences: What to encode; row i is sentence i.
        tokenizer: The base's fast tokenizer.
        labels: The tags in the order of their numbers.
        max_length: Largest number of tokens of a row, special tokens included. Words past it are cut and
            counted.
        unknown: What to do with a tag that is not in `labels`: an error in training; "ignore" gives it no
            label, which is what an evaluation wants.
        source: The file's name, for messages.

    Raises:
        DataError: A tag is not in `labels`, or no sentence is there.
        OptionError: `max_length` leaves no room, or the tokenizer is not a fast one.
    """
    if not sentences:
        raise DataError(
            f"There are no sentences in {source}. At least one was expected. Check what was selected."
        )
    if unknown == "error":
        _refuse_unknown_tags(sentences, labels, source=source)
    prefix, suffix, room = special_frame(tokenizer, max_length=max_length)
    numbers = {label: number for number, label in enumerate(labels)}
    tags = np.fromiter(
        (numbers.get(tag, IGNORE) for sentence in sentences for tag in sentence.tags), dtype=np.int32
    )
    num_words = np.fromiter((len(sentence.tokens) for sentence in sentences), dtype=np.int64)
    pieces, word_sizes = tokenize_words(chain.from_iterable(s.tokens for s in sentences), tokenizer)

    word_starts = row_starts(word_sizes)
    sentence_starts = word_starts[row_starts(num_words)]
    place = count_up(np.diff(sentence_starts))
    kept = place < room
    word_row = np.repeat(np.arange(len(sentences)), num_words)
    cut_words = word_starts[:-1] - sentence_starts[word_row] >= room
    first_labels = np.full(len(pieces), IGNORE, dtype=np.int32)
    first_labels[word_starts[:-1]] = tags
    piece_words = np.repeat(count_up(num_words), word_sizes)
    ids, starts, inside = add_frame(
        pieces[kept], np.minimum(np.diff(sentence_starts), room), prefix=prefix, suffix=suffix
    )
    return EncodedTags(
        ids=ids,
        starts=starts,
        labels=_spread(first_labels[kept], inside, size=len(ids), fill=IGNORE),
        word_of=_spread(piece_words[kept], inside, size=len(ids), fill=-1),
        num_words=num_words,
        num_cut_rows=len(np.unique(word_row[cut_words])),
        num_cut_tokens=int(cut_words.sum()),
    )


def encode_labelled(
    texts: Sequence[LabelledText],
    tokenizer: PreTrainedTokenizerBase,
    *,
    labels: Sequence[str],
    max_length: int = 256,
    unknown: Literal["error", "ignore"] = "error",
    source: str = "the data",
) -> EncodedLabels:
    """Turn labelled texts into rows of token ids, one row a text; what is past `max_length` is cut and
    counted.

    Args:
        texts: What to encode; row i is text i.
        tokenizer: The base's fast tokenizer.
        labels: The labels in the order of their numbers.
        max_length: Largest number of tokens of a row, special tokens included.
        unknown: What to do with a label that is not in `labels`: an error, or "ignore" to give it no number.
        source: The file's name, for messages.

    Raises:
        DataError: A label is not in `labels`, or no text is there.
        OptionError: `max_length` leaves no room, or the tokenizer is not a fast one.
    """
    if not texts:
        raise DataError(
            f"There are no texts in {source}. At least one was expected. Check what was selected."
        )
    numbers = {label: number for number, label in enumerate(labels)}
    for text in texts:
        if unknown == "error" and text.label not in numbers:
            raise DataError(_describe_unknown("label", text.label, labels, source=source, line=text.line))
    prefix, suffix, room = special_frame(tokenizer, max_length=max_length)
    pieces, lengths = tokenize_texts([text.text for text in texts], tokenizer)
    cut = np.maximum(lengths - room, 0)
    ids, starts, _ = add_frame(pieces[count_up(lengths) < room], lengths - cut, prefix=prefix, suffix=suffix)
    return EncodedLabels(
        ids=ids,
        starts=starts,
        labels=np.fromiter((numbers.get(text.label, IGNORE) for text in texts), dtype=np.int32),
        num_cut=cut,
        num_cut_rows=int((cut > 0).sum()),
        num_cut_tokens=int(cut.sum()),
    )


def collect_labels(examples: Iterable[TaggedSentence | LabelledText]) -> tuple[str, ...]:
    """Give the tags or labels that examples use, "O" first and the others sorted.

    Args:
        examples: Tagged sentences or labelled texts.

    Example:
        >>> collect_labels([TaggedSentence(("Cusco", "!"), ("B-LOC", "O"), 1)])
        ('O', 'B-LOC')
    """
    found: set[str] = set()
    for example in examples:
        found.update(example.tags if isinstance(example, TaggedSentence) else (example.label,))
    return tuple(sorted(found, key=lambda label: (label != "O", label)))


def unknown_tags(examples: Iterable[TaggedSentence | LabelledText], labels: Sequence[str]) -> tuple[str, ...]:
    """Give the tags that examples use and `labels` does not hold, sorted.

    Args:
        examples: Tagged sentences or labelled texts.
        labels: The tags that training saw.

    Example:
        >>> unknown_tags([TaggedSentence(("2019",), ("B-DATE",), 1)], ("O", "B-LOC"))
        ('B-DATE',)
    """
    return tuple(sorted(set(collect_labels(examples)) - set(labels)))


def _refuse_unknown_tags(sentences: Sequence[TaggedSentence], labels: Sequence[str], *, source: str) -> None:
    known = set(labels)
    for sentence in sentences:
        for place, tag in enumerate(sentence.tags):
            if tag not in known:
                raise DataError(
                    _describe_unknown("tag", tag, labels, source=source, line=sentence.line + place)
                )


def _describe_unknown(what: str, found: str, labels: Sequence[str], *, source: str, line: int) -> str:
    return (
        f"{source}, line {line}: the {what} '{found}' is not among the {len(labels)} that are trained: "
        f"{', '.join(labels)}.{nearest(found, labels)} Correct the file, or add the {what} to the labels."
    )


def _spread(
    values: NDArray[np.integer], places: NDArray[np.int64], *, size: int, fill: int
) -> NDArray[np.int32]:
    spread = np.full(size, fill, dtype=np.int32)
    spread[places] = values
    return spread
