"""Rows with named columns become examples, or an error that says which row and why."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import cast

from polygraft.data.example import LabelledText, TaggedSentence
from polygraft.data.open import show
from polygraft.data.reading import Reading
from polygraft.data.table import Table, find_columns
from polygraft.errors import DataError

_IN_WORDS = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_IN_LABELLED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""A text may have several lines."""
_IN_TEXT = re.compile("[\x00\ud800-\udfff]")
_NAMES_ADVICE = "Give the labels in the order of their numbers by label_names."


def read_tagged_rows(table: Table, reading: Reading) -> list[TaggedSentence]:
    """Read a sentence from each row: a list of tokens and a list of as many tags.

    Rows whose two lists are empty are skipped, as empty lines of CoNLL are.

    Args:
        table: The rows.
        reading: Which columns.

    Raises:
        DataError: A column or value is not there, is of another kind, or the lists differ in length; or no sentence
            is there.
    """
    sentences: list[TaggedSentence] = []
    if table.columns is not None:
        names = find_columns(table, reading, kind="tokens")
        labels = _Labels(table, reading, column=names[1])
        for number, (token_cell, tag_cell) in table.read_rows(names):
            place = table.place(number)
            tokens = _read_list(token_cell, table, column=names[0], place=place)
            tags = _read_list(tag_cell, table, column=names[1], place=place)
            if len(tokens) != len(tags):
                raise DataError(
                    f"{place}: {_count(tokens, 'token')} in {show(names[0])} and {_count(tags, 'tag')} in "
                    f"{show(names[1])}. Every token has exactly one tag. Add the missing ones or remove the extra ones."
                )
            if tokens:
                sentences.append(
                    TaggedSentence(
                        _read_words(tokens, column=names[0], place=place),
                        labels.read_all(tags, place=place),
                        number,
                    )
                )
    if not sentences:
        raise DataError(
            f"{table.source} has no sentences. Rows with a list of tokens and a list of tags were expected. Check that "
            "it is complete and is the one you meant."
        )
    return sentences


def read_labelled_rows(table: Table, reading: Reading) -> list[LabelledText]:
    """Read a text and its label from each row; text is brought into Unicode's composed form (NFC).

    Args:
        table: The rows.
        reading: Which columns.

    Raises:
        DataError: A column or value is not there, is empty or of another kind, or no row is there.
    """
    texts: list[LabelledText] = []
    if table.columns is not None:
        names = find_columns(table, reading, kind="sequence")
        labels = _Labels(table, reading, column=names[1])
        for number, (text_cell, label_cell) in table.read_rows(names):
            place = table.place(number)
            text = _read_text(text_cell, column=names[0], place=place, refused=_IN_LABELLED).strip()
            if not text:
                raise DataError(
                    f"{place}: {show(names[0])} is empty. Expected a text for every label. Add the text, or remove the "
                    "row."
                )
            label = labels.read(label_cell, place=place).strip()
            texts.append(LabelledText(unicodedata.normalize("NFC", text), label, number))
    if not texts:
        raise DataError(
            f"{table.source} has no labelled texts. Rows with a text and a label were expected. Check that it is "
            "complete and is the one you meant."
        )
    return texts


def read_text_rows(table: Table, reading: Reading) -> Iterator[str]:
    """Give the text of each row as it stands there, empty ones too.

    Args:
        table: The rows.
        reading: Which column.

    Raises:
        DataError: The column or a value is not there, or is of another kind.
    """
    if table.columns is None:
        return
    names = find_columns(table, reading, kind="text")
    for number, (cell,) in table.read_rows(names):
        yield _read_text(cell, column=names[0], place=table.place(number), refused=_IN_TEXT)


class _Labels:
    """Turns the values of a column into labels: texts as they are, numbers into names."""

    def __init__(self, table: Table, reading: Reading, *, column: str) -> None:
        self._column = show(column)
        self._names = reading.label_names or table.class_names.get(column, ())
        self._reads_digits = table.is_written and bool(reading.label_names)
        self._first: tuple[bool, str, str] | None = None
        self._known: dict[str | int, str] = {}

    def read_all(self, values: Sequence[object], *, place: str) -> tuple[str, ...]:
        """Give the labels of the values of a list."""
        # Most values were seen before; of an equal value of another type, such as true, nothing was seen.
        if all((type(value) is str or type(value) is int) and value in self._known for value in values):
            return tuple(self._known[cast("str | int", value)] for value in values)
        found: list[str] = []
        for count, value in enumerate(values, start=1):
            found.append(self.read(value, place=f"{place}, item {count}"))
            self._known[cast("str | int", value)] = found[-1]
        return tuple(found)

    def read(self, value: object, *, place: str) -> str:
        """Give the label of a value."""
        if self._reads_digits and isinstance(value, str) and re.fullmatch("-?[0-9]{1,9}", value.strip()):
            value = int(value)
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not is_number and not isinstance(value, str):
            raise DataError(
                f"{place}: {self._column} has {describe(value)} where a label was expected, as text or as a number. "
                "Correct the value."
            )
        if self._first is None:
            self._first = is_number, describe(value), place
        elif self._first[0] != is_number:
            raise DataError(
                f"{place}: {self._column} has {describe(value)}, and {self._first[1]} at {self._first[2]}. Expected "
                "labels of one kind, all texts or all numbers. Correct the column."
            )
        if is_number:
            return self._name(cast("int", value), place=place)
        return _read_word(value, column=self._column, place=place)

    def _name(self, number: int, *, place: str) -> str:
        if not self._names:
            raise DataError(
                f"{place}: {self._column} has the number {number}, and nothing says which label that is. Expected "
                f"text, or names for the numbers. {_NAMES_ADVICE}"
            )
        if not 0 <= number < len(self._names):
            raise DataError(
                f"{place}: {self._column} has the number {number}, and there are names for 0 to "
                f"{len(self._names) - 1}: {', '.join(self._names)}. Expected one of these. Remove rows without a "
                "label, or give more names by label_names."
            )
        return self._names[number]


def describe(value: object) -> str:
    """Say what a value is, for a message.

    Example:
        >>> describe(None), describe([1]), describe(3), describe("x")
        ('null', 'a list', 'the number 3', "the text 'x'")
    """
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"the text {show(value)}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, list | tuple):
        return "a list"
    return "a table" if isinstance(value, dict) else f"a value of type {type(value).__name__}"


def _count(items: Sequence[object], what: str) -> str:
    return f"{len(items)} {what}{'s' * (len(items) != 1)}"


def _read_list(value: object, table: Table, *, column: str, place: str) -> Sequence[object]:
    if table.is_written and isinstance(value, str):
        return value.split()
    if isinstance(value, list | tuple):
        return cast("Sequence[object]", value)
    raise DataError(
        f"{place}: {show(column)} has {describe(value)} where a list was expected, one item a word. Write it as a "
        "list, or name another column."
    )


def _read_words(values: Sequence[object], *, column: str, place: str) -> tuple[str, ...]:
    words = [value for value in values if isinstance(value, str) and value.strip()]
    if len(words) == len(values) and not _IN_WORDS.search("".join(words)):
        return tuple(words)
    # One of them is wrong: it is found and told.
    return tuple(
        _read_word(value, column=show(column), place=f"{place}, item {count}")
        for count, value in enumerate(values, start=1)
    )


def _read_word(value: object, *, column: str, place: str) -> str:
    if not isinstance(value, str):
        raise DataError(
            f"{place}: {column} has {describe(value)} where a word was expected as text. Write it as text, or remove "
            "it with its tag."
        )
    if not value.strip():
        raise DataError(
            f"{place}: {column} has an empty text ({show(value)}). Expected a word. Fill it in, or remove it."
        )
    _refuse(value, _IN_WORDS, column=column, place=place)
    return value


def _read_text(value: object, *, column: str, place: str, refused: re.Pattern[str]) -> str:
    if not isinstance(value, str):
        raise DataError(
            f"{place}: {show(column)} has {describe(value)} where text was expected. Correct the value, or remove the "
            "row."
        )
    _refuse(value, refused, column=show(column), place=place)
    return value


def _refuse(text: str, pattern: re.Pattern[str], *, column: str, place: str) -> None:
    found = pattern.search(text)
    if found is not None:
        raise DataError(
            f"{place}: {column} has the character U+{ord(found[0]):04X} at character {found.start() + 1} "
            f"({show(text)}), which does not stand in plain text. Remove it."
        )
