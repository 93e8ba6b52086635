"""Options that say how data is read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from polygraft.data.reading import Reading

FormatOption = Annotated[
    Literal["conll", "text", "tsv", "csv", "jsonl", "parquet"] | None,
    typer.Option("--format", help="The format of the data; what a file's ending says if not given."),
]
TokenColumnOption = Annotated[
    str,
    typer.Option(
        "--token-column",
        metavar="COLUMN",
        show_default="0, or the usual names",
        help="Column of the words: a number in CoNLL, counted from 0, else a name.",
    ),
]
TagColumnOption = Annotated[
    str,
    typer.Option(
        "--tag-column",
        metavar="COLUMN",
        show_default="-1, or the usual names",
        help="Column of the tags: a number in CoNLL, where -1 is the last, else a name.",
    ),
]
TextColumnOption = Annotated[
    str | None,
    typer.Option("--text-column", metavar="NAME", help="Column of the text, where columns have names."),
]
LabelColumnOption = Annotated[
    str | None,
    typer.Option("--label-column", metavar="NAME", help="Column of the label, where columns have names."),
]
LabelNamesOption = Annotated[
    str | None,
    typer.Option(
        "--label-names",
        metavar="LABEL,...",
        help="The labels in the order of their numbers, where the data has numbers for them.",
    ),
]
FIRST, LAST = "0", "-1"
"""Where token and tag stand in CoNLL, unless the user says otherwise."""


def make_reading(
    form: Literal["conll", "text", "tsv", "csv", "jsonl", "parquet"] | None = None,
    *,
    token_column: str = FIRST,
    tag_column: str = LAST,
    text_column: str | None = None,
    label_column: str | None = None,
    label_names: str | None = None,
) -> Reading:
    """Say how data is read, as the options of a command do.

    Args:
        form: The format.
        token_column: A number or a name.
        tag_column: Likewise.
        text_column: A name.
        label_column: A name.
        label_names: Labels between commas.

    Raises:
        OptionError: An option cannot be meant.

    Example:
        >>> make_reading("jsonl", tag_column="upos", label_names="NOUN,VERB").label_names
        ('NOUN', 'VERB')
    """
    from polygraft.data.reading import Reading

    return Reading(
        format=form,
        token_column=_read_column(token_column),
        tag_column=_read_column(tag_column),
        text_column=text_column,
        label_column=label_column,
        label_names=() if label_names is None else tuple(name.strip() for name in label_names.split(",")),
    )


def _read_column(text: str) -> int | str:
    return int(text) if re.fullmatch("-?[0-9]{1,9}", text) else text
