"""Rows with named columns, whatever file they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

from polygraft.data.open import show
from polygraft.data.reading import HOLDS, ROLES, USUAL, Kind, Reading, Role
from polygraft.errors import DataError, nearest

Row: TypeAlias = tuple[int, Sequence[object]]
"""The number of a row or of its first line, and a value for each column that was asked for."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A source whose columns have names; rows are read when they are asked for.

    Args:
        source: What messages call it.
        columns: The names of the columns; None where there is no row to tell them.
        read_rows: Gives the values of some columns, row by row.
        unit: What the number of a row counts, from 1.
        class_names: The labels of columns that hold numbers for labels, in the order of the numbers.
        is_written: Whether all values are text, so that lists are words between blanks and numbers are digits.
    """

    source: str
    columns: tuple[str, ...] | None
    read_rows: Callable[[Sequence[str]], Iterator[Row]]
    unit: Literal["line", "row"] = "line"
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    is_written: bool = False

    def place(self, number: int) -> str:
        """Say where a row is, for messages."""
        return f"{self.source}, {self.unit} {number}"


def find_columns(table: Table, reading: Reading, *, kind: Kind) -> tuple[str, ...]:
    """Give the names of the columns that hold what is read.

    Args:
        table: Whose columns.
        reading: What was asked for; else the usual names are looked for.
        kind: What is read.

    Raises:
        DataError: A column is not there, or two of the usual ones are.
    """
    return tuple(_find_column(table, reading, role) for role in ROLES[kind])


def check_names(names: Sequence[str], *, place: str) -> None:
    """Refuse columns of which two have the same name.

    Args:
        names: The names.
        place: Where they stand, for the message.

    Raises:
        DataError: A name stands twice.
    """
    for count, name in enumerate(names):
        if name in names[:count]:
            raise DataError(
                f"{place}: the column {show(name)} stands twice. Expected each name once, so that it is clear which "
                "column is meant. Rename or remove one of the two."
            )


def find_class_names(features: object) -> dict[str, tuple[str, ...]]:
    """Give the names of the labels that stand as numbers in columns, as Hugging Face describes columns.

    Args:
        features: The description: a table from each column to its type, as in the metadata of a Parquet file.

    Example:
        >>> find_class_names(
        ...     {"label": {"_type": "ClassLabel", "names": ["no", "yes"]}, "text": {"_type": "Value"}}
        ... )
        {'label': ('no', 'yes')}
    """
    found: dict[str, tuple[str, ...]] = {}
    if not isinstance(features, dict):
        return found
    for column, described in cast("dict[str, Any]", features).items():
        inner = described
        # Lists are described as {"feature": ...} or as a list of one description.
        while isinstance(inner, list) or (isinstance(inner, dict) and "feature" in inner):
            inner = inner["feature"] if isinstance(inner, dict) else inner[0] if inner else None
        if isinstance(inner, dict) and isinstance(names := inner.get("names"), list):
            found[column] = tuple(map(str, names))
    return found


def _find_column(table: Table, reading: Reading, role: Role) -> str:
    columns = table.columns or ()
    wanted, known = reading.find_name(role), ", ".join(map(show, columns))
    if wanted is not None:
        if wanted not in columns:
            raise DataError(
                f"{table.source} has no column {show(wanted)}. Its columns are: {known}.{nearest(wanted, columns)} "
                f"Correct {role}_column."
            )
        return wanted
    found = [name for name in USUAL[role] if name in columns]
    if not found:
        looked_for = ", ".join(map(show, USUAL[role]))
        raise DataError(
            f"{table.source} has none of the columns {looked_for}, in which the {HOLDS[role]} would be looked for. Its "
            f"columns are: {known}. Name the column by {role}_column."
        )
    if len(found) > 1:
        raise DataError(
            f"{table.source} has the columns {' and '.join(map(show, found))}, and each may hold the {HOLDS[role]}. "
            f"Expected one of them. Name the column by {role}_column."
        )
    return found[0]
