"""CSV and TSV with a first line that names the columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from polygraft.data.open import show, stream_lines
from polygraft.data.reading import ROLES, USUAL, Kind, Reading
from polygraft.data.table import Row, Table, check_names
from polygraft.errors import DataError

TAB, COMMA = "\t", ","
_PLAIN_HEADER = ["label", "text"]
"""Belongs to files of label, tab, text, which are read as such."""


def open_delimited(path: Path, *, delimiter: Literal["\t", ","]) -> Table:
    """Open a file whose first line names its columns; empty lines are skipped.

    Between commas, a cell may stand in double quotes and then hold commas, line feeds and doubled quotes (RFC 4180).
    Between tabs, quotes are plain characters and every tab ends a cell.

    Args:
        path: The file, UTF-8.
        delimiter: What stands between cells.

    Raises:
        DataError: The file cannot be read, or a name stands twice in its first line.
    """
    header = next(_read_cells(path, delimiter), None)
    columns = None if header is None else tuple(name.strip() for name in header[1])
    if header is not None and columns is not None:
        check_names(columns, place=f"{path}, line {header[0]}")

    def read_rows(names: Sequence[str]) -> Iterator[Row]:
        known = columns or ()
        places = [known.index(name) for name in names]
        rows = _read_cells(path, delimiter)
        next(rows)
        for number, cells in rows:
            if len(cells) != len(known):
                raise DataError(
                    f"{path}, line {number}: {_count(len(cells))} where {len(known)} were expected "
                    f"({show(delimiter.join(cells))}). The first line names {', '.join(map(show, known))}. "
                    f"{_ADVICE[delimiter]}"
                )
            yield number, [cells[place] for place in places]

    return Table(source=str(path), columns=columns, read_rows=read_rows, is_written=True)


def has_header(path: Path, reading: Reading, *, kind: Kind) -> bool:
    """Tell whether the first line of a TSV file names the columns that hold what is read.

    Args:
        path: The file.
        reading: Which columns are looked for.
        kind: What is read.

    Raises:
        DataError: The file cannot be read.
    """
    if reading.names_columns(kind):
        return True
    names = [name.strip() for name in next(stream_lines(path), "").split(TAB)]
    return names != _PLAIN_HEADER and all(set(USUAL[role]) & set(names) for role in ROLES[kind])


_ADVICE = {
    TAB: "Separate cells with one tab, and leave no tab or line feed in a cell; a file with quoted cells is CSV.",
    COMMA: "Separate cells with one comma, and put cells with commas or line feeds in double quotes.",
}


def _count(num_cells: int) -> str:
    return f"{num_cells} cell{'s' * (num_cells != 1)}"


def _read_cells(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Give the line on which each row begins, and its cells."""
    lines = stream_lines(path)
    if delimiter == TAB:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, line.split(TAB)
        return
    rows = csv.reader((f"{line}\n" for line in lines), strict=True)
    number = 1
    try:
        for cells in rows:
            if any(map(str.strip, cells)):
                yield number, cells
            number = rows.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}, line {number}: the row that begins here is not CSV: {error}. Expected cells between commas, and "
            "for every quote that opens a cell one that closes it, with doubled quotes between. Correct the quotes."
        ) from None
