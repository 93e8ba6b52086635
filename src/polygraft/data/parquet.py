"""Parquet files, read a few rows at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from polygraft.data.extra import need
from polygraft.data.open import check_readable
from polygraft.data.table import Row, Table, check_names, find_class_names
from polygraft.errors import DataError

BATCH_ROWS = 1024
HUGGING_FACE = b"huggingface"
"""Where the metadata of a file that `datasets` wrote describe its columns."""


def open_parquet(path: Path) -> Table:
    """Open a Parquet file; only the columns that are asked for are read.

    Args:
        path: The file.

    Raises:
        DataError: The file cannot be read or is not Parquet, or a column's name stands twice.
        MissingExtraError: pyarrow is not installed.
    """
    need("pyarrow", extra="parquet", source=str(path))
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    check_readable(path)
    try:
        with ParquetFile(path) as file:
            schema = file.schema_arrow
    except (ArrowException, OSError) as error:
        raise DataError(_describe_damaged(path, error)) from None
    check_names(schema.names, place=str(path))

    def read_rows(names: Sequence[str]) -> Iterator[Row]:
        number = 0
        try:
            with ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(names)):
                    for values in zip(*(batch.column(name).to_pylist() for name in names), strict=True):
                        number += 1
                        yield number, values
        except (ArrowException, OSError) as error:
            raise DataError(_describe_damaged(path, error)) from None

    return Table(
        source=str(path),
        columns=tuple(schema.names),
        read_rows=read_rows,
        unit="row",
        class_names=_find_class_names(schema.metadata or {}),
    )


def _find_class_names(metadata: dict[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    try:
        described: Any = json.loads(metadata[HUGGING_FACE])
        return find_class_names(described["info"]["features"])
    except (KeyError, TypeError, ValueError):
        return {}


def _describe_damaged(path: Path, error: Exception) -> str:
    first = str(error).strip().split("\n")[0].rstrip(".")
    return (
        f"{path} cannot be read as Parquet: {first}. A whole Parquet file was expected. Write or fetch it again, or "
        "name its format."
    )
