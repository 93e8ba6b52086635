"""Examples from any place that a user may name: a file of a known format, or a dataset."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from polygraft.data.address import is_address
from polygraft.data.conll import read_conll
from polygraft.data.datasets import digest_dataset, open_dataset
from polygraft.data.delimited import COMMA, TAB, has_header, open_delimited
from polygraft.data.example import LabelledText, TaggedSentence
from polygraft.data.jsonl import open_jsonl
from polygraft.data.open import file_digest
from polygraft.data.parquet import open_parquet
from polygraft.data.reading import BY_ENDING, PLAIN, ROLES, Form, Kind, Reading, find_format
from polygraft.data.rows import read_labelled_rows, read_tagged_rows, read_text_rows
from polygraft.data.table import Table
from polygraft.data.text import read_text
from polygraft.data.tsv import read_labelled
from polygraft.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Source:
    """A place of examples, and how they are read from it.

    Args:
        path: A file, or the address of a dataset, as `hf:owner/name:train`.
        kind: What is read.
        reading: What its ending and the usual names do not say.
    """

    path: Path
    kind: Kind
    reading: Reading

    @property
    def form(self) -> Form:
        """How it is read in fact; the first line of a TSV file tells whether its columns have names.

        Raises:
            DataError: A TSV file cannot be read.
            OptionError: A format was asked for that such examples do not have.
        """
        if is_address(self.path):
            return "datasets"
        found = find_format(self.path, self.reading, kind=self.kind)
        if found is None or (found == "tsv" and not has_header(self.path, self.reading, kind=self.kind)):
            return PLAIN[self.kind]
        return found

    def identify(self, digest: str | None = None) -> str:
        """Give what the examples depend on: the content, and how it is read where its columns have names.

        Args:
            digest: The content's, where it is known already.

        Raises:
            DataError: It cannot be read.
        """
        form, digest = self.form, digest or digest_source(self.path)
        if form == PLAIN[self.kind]:
            return digest
        names = [f"{role}={self.reading.find_name(role)}" for role in ROLES[self.kind]]
        return " ".join([digest, self.kind, form, *names, *map(repr, self.reading.label_names)])

    def open(self) -> Table:
        """Open it as rows with named columns.

        Raises:
            DataError: It cannot be read, or its columns have no names.
            MissingExtraError: What it needs is not installed.
        """
        match self.form:
            case "tsv":
                return open_delimited(self.path, delimiter=TAB)
            case "csv":
                return open_delimited(self.path, delimiter=COMMA)
            case "jsonl":
                return open_jsonl(self.path)
            case "parquet":
                return open_parquet(self.path)
            case "datasets":
                return open_dataset(self.path)
            case "conll" | "labelled" | "text":
                raise DataError(
                    f"The columns of {self.path} have no names. Expected a format whose columns have some."
                )


def digest_source(path: Path) -> str:
    """Give a SHA-256 of the content: of a file's bytes, or of a dataset's rows; names and places do not matter.

    Args:
        path: A file, or the address of a dataset.

    Raises:
        DataError: It cannot be read.
        MissingExtraError: What it needs is not installed.
    """
    return digest_dataset(path) if is_address(path) else file_digest(path)


def read_sentences(path: Path, reading: Reading = BY_ENDING) -> list[TaggedSentence]:
    """Read tagged sentences, from CoNLL or from rows with a list of tokens and a list of tags.

    Args:
        path: A file, or the address of a dataset.
        reading: How.

    Raises:
        DataError: It cannot be read as what it should be.
        OptionError: A column or format is asked for that it cannot have.
        MissingExtraError: What it needs is not installed.
    """
    source = Source(path=path, kind="tokens", reading=reading)
    if source.form == "conll":
        token_column, tag_column = reading.find_numbers()
        return read_conll(path, token_column=token_column, tag_column=tag_column)
    return read_tagged_rows(source.open(), reading)


def read_labelled_texts(path: Path, reading: Reading = BY_ENDING) -> list[LabelledText]:
    """Read labelled texts, from lines of label, tab, text or from rows with a text and a label.

    The arguments and errors are those of `read_sentences`.
    """
    source = Source(path=path, kind="sequence", reading=reading)
    if source.form == "labelled":
        return read_labelled(path)
    return read_labelled_rows(source.open(), reading)


def read_texts(path: Path, reading: Reading = BY_ENDING, *, max_lines: int | None = None) -> list[str]:
    """Read plain text, from lines or from rows with a text; a text of several lines gives as many.

    Empty lines are left out, blanks at the ends removed, and Unicode's composed form (NFC) made.

    Args:
        path: A file, or the address of a dataset.
        reading: How.
        max_lines: Give no more lines than this; None gives all.

    Raises:
        DataError: It cannot be read as what it should be, or has no text.
        OptionError: A column or format is asked for that it cannot have.
        MissingExtraError: What it needs is not installed.
    """
    source = Source(path=path, kind="text", reading=reading)
    if source.form == "text":
        return read_text(path)[:max_lines]
    lines = list(islice(_split_texts(read_text_rows(source.open(), reading)), max_lines))
    if not lines:
        raise DataError(
            f"{path} has no text. Rows with a text were expected. Check that it is complete and is the one you meant."
        )
    return lines


def _split_texts(texts: Iterator[str]) -> Iterator[str]:
    for text in texts:
        for line in unicodedata.normalize("NFC", text).split("\n"):
            if stripped := line.strip():
                yield stripped
