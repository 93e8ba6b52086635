"""Texts with one label each, in a file of two columns."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from polygraft.data.example import LabelledText
from polygraft.data.open import read_lines, refuse_control_characters, show
from polygraft.data.swapped import refuse_swapped, refuse_swapped_names
from polygraft.errors import DataError

_HEADER = ("label", "text")


def read_labelled(path: Path | str) -> list[LabelledText]:
    """Read labelled texts: a label, a tab, and the text in each line.

    Empty lines and a first line `label<TAB>text` are skipped. Text is brought into Unicode's composed form
    (NFC). A file without that line whose texts stand before its labels is refused.

    Args:
        path: The file, UTF-8.

    Raises:
        DataError: The file cannot be read, a line has not two filled columns, no text is there, or the columns are
            swapped.
    """
    texts: list[LabelledText] = []
    is_named = False
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        refuse_control_characters(line, path=path, line=number)
        columns = tuple(column.strip() for column in line.split("\t"))
        if number == 1 and columns == _HEADER:
            is_named = True
            continue
        if number == 1:
            refuse_swapped_names(columns, path=path)
        if len(columns) != 2 or not all(columns):
            num_filled = sum(map(bool, columns))
            raise DataError(
                f"{path}, line {number}: {num_filled} filled column{'s' * (num_filled != 1)} of "
                f"{len(columns)} where a label and a text were expected ({show(line)}). Write the label, one "
                "tab, and the text."
            )
        texts.append(LabelledText(unicodedata.normalize("NFC", columns[1]), columns[0], number))
    if not texts:
        raise DataError(
            f"{path} has no labelled texts. A label, a tab and a text in each line were expected. "
            "Check that the file is complete and is the one you meant."
        )
    if not is_named:
        refuse_swapped(texts, path=path)
    return texts
