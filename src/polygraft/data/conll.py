"""Sentences with one tag a token, in CoNLL's column format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from polygraft.data.example import TaggedSentence
from polygraft.data.open import read_lines, refuse_control_characters, show
from polygraft.errors import DataError

_BLANKS = re.compile("[ \t]+")
_EDGES = " \t"
_DOCUMENT_START = "-DOCSTART-"
_COMMENT = "# "
_SPAN_TAG = re.compile("[BIESLU]-")
_HASH_TAGS = frozenset(("O", "#", "SYM", "PUNCT", "NOUN", "X"))
"""What a lone number sign is tagged as: outside of entities, itself (Penn Treebank), and the universal parts of
speech that it gets."""
_ADVICE = "Separate token and tag with one space or tab, and sentences with an empty line."


def read_conll(path: Path | str, *, token_column: int = 0, tag_column: int = -1) -> list[TaggedSentence]:
    """Read the tagged sentences of a CoNLL file.

    Columns stand between tabs, or between spaces where a line has no tab; empty lines end sentences. Any tag is
    accepted, with or without `B-` and `I-`. Lines that start with `-DOCSTART-` are skipped, and so are comments:
    lines that start with `# ` and have not the file's number of columns, or that stand before a sentence and have
    in the tag's column what no tag is: not `O`, no tag of a span such as `B-LOC`, none that a number sign gets as a
    part of speech, and none that stands on another line.

    Args:
        path: The file, UTF-8.
        token_column: Where the token stands, counted from 0; negative numbers count from the last column.
        tag_column: Where the tag stands. The default is the last column.

    Raises:
        DataError: The file cannot be read, a line has another number of columns than the first, or no
            sentence is there.
    """
    lines = read_lines(path)
    sentences: list[TaggedSentence] = []
    rows = _read_rows(path, lines, token_column=token_column, tag_column=tag_column)
    for has_token, group in groupby(rows, key=lambda row: row is not None):
        found = [row for row in group if row is not None]
        if has_token:
            tokens, tags = tuple(row[1] for row in found), tuple(row[2] for row in found)
            sentences.append(TaggedSentence(tokens, tags, found[0][0]))
    if not sentences:
        raise DataError(
            f"{path} has no sentences. Lines with a token and a tag were expected, and an empty line between "
            "sentences. Check that the file is complete and is the one you meant."
        )
    return sentences


def write_conll(path: Path | str, sentences: Iterable[TaggedSentence]) -> None:
    """Write tagged sentences as lines of token, space, tag, so that `read_conll` gives them back.

    A token that is a number sign has a tab behind it: with a space it might be taken for a comment.

    Args:
        path: The file; what it held is replaced.
        sentences: What to write.

    Raises:
        DataError: A sentence has no tokens, a token or tag cannot stand in a column, or the file
            cannot be written.
    """
    blocks = [_write_sentence(sentence) for sentence in sentences]
    text = "\n".join(blocks)
    if text.startswith("\ufeff"):
        text = "\ufeff" + text
    try:
        Path(path).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror}. A file in a folder that exists was expected. "
            "Check its path and permissions."
        ) from None


def _read_rows(
    path: Path | str, lines: Sequence[str], *, token_column: int, tag_column: int
) -> Iterator[tuple[int, str, str] | None]:
    """Give (line, token, tag) for a token and None for an empty line."""
    expected, has_tabs = _find_shape(path, lines, token_column=token_column, tag_column=tag_column)
    tags: set[str] | None = None
    is_between = True
    for number, line in enumerate(lines, start=1):
        content = line.strip(_EDGES)
        if not content or _split(content)[0] == _DOCUMENT_START:
            is_between = True
            yield None
            continue
        columns = _split(content)
        if line.startswith(_COMMENT):
            if len(columns) != expected or (has_tabs and "\t" not in content):
                continue
            if is_between and not _SPAN_TAG.match(columns[tag_column]):
                tags = _list_tags(lines, expected=expected, tag_column=tag_column) if tags is None else tags
                if columns[tag_column] not in tags:
                    continue
        is_between = False
        refuse_control_characters(content, path=path, line=number)
        if len(columns) != expected:
            raise DataError(
                f"{path}, line {number}: {_count(len(columns))} where {expected} were expected "
                f"({show(content)}). {_ADVICE}"
            )
        token, tag = columns[token_column], columns[tag_column]
        if not token or not tag:
            raise DataError(
                f"{path}, line {number}: the {'tag' if token else 'token'} is empty ({show(content)}). "
                f"{_ADVICE}"
            )
        yield number, token, tag


def _find_shape(
    path: Path | str, lines: Sequence[str], *, token_column: int, tag_column: int
) -> tuple[int, bool]:
    """Give the number of columns of the first line that surely holds a token, and whether it has tabs."""
    number, first = next(
        (
            (number, line.strip(_EDGES))
            for number, line in enumerate(lines, start=1)
            if line.strip(_EDGES) and not line.startswith((_COMMENT, _DOCUMENT_START))
        ),
        (1, "token tag"),
    )
    num_columns = len(_split(first))
    if num_columns < 2:
        refuse_control_characters(first, path=path, line=number)
        raise DataError(
            f"{path}, line {number}: 1 column where at least 2 were expected ({show(first)}). {_ADVICE}"
        )
    for name, column in (("token", token_column), ("tag", tag_column)):
        if not -num_columns <= column < num_columns:
            raise DataError(
                f"{path}, line {number}: {_count(num_columns)} ({show(first)}), and the {name} is looked for "
                f"in column {column}. Columns are counted from 0, or from -1 backwards. Give a {name} column "
                "that is there."
            )
    return num_columns, "\t" in first


def _list_tags(lines: Sequence[str], *, expected: int, tag_column: int) -> set[str]:
    """List the tags that a number sign may have: those of the lines that are surely no comments among them."""
    rows = (_split(line.strip(_EDGES)) for line in lines if not line.startswith((_COMMENT, _DOCUMENT_START)))
    return {*_HASH_TAGS, *(columns[tag_column] for columns in rows if len(columns) == expected)}


def _split(content: str) -> list[str]:
    if "\t" in content:
        return [column.strip(" ") for column in content.split("\t")]
    return _BLANKS.split(content)


def _count(num_columns: int) -> str:
    return "1 column" if num_columns == 1 else f"{num_columns} columns"


def _write_sentence(sentence: TaggedSentence) -> str:
    if not sentence.tokens:
        raise DataError("A sentence has no tokens. A CoNLL file cannot hold an empty sentence. Leave it out.")
    for word in (*sentence.tokens, *sentence.tags):
        if not word or _BLANKS.search(word) or word == _DOCUMENT_START:
            raise DataError(
                f"The token or tag {show(word)} cannot be written: a column is not empty, holds no space or "
                f"tab, and is not {_DOCUMENT_START}. Replace it before writing."
            )
        refuse_control_characters(word, path="The token or tag", line=sentence.line)
    # After a tab a number sign is no comment, whatever its tag.
    return "".join(
        f"{token}\t{tag}\n" if f"{token} " == _COMMENT else f"{token} {tag}\n"
        for token, tag in zip(sentence.tokens, sentence.tags, strict=True)
    )
