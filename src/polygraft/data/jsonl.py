"""JSON Lines: an object a line, with the same keys in each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from polygraft.data.open import show, stream_lines
from polygraft.data.table import Row, Table, check_names
from polygraft.errors import DataError, nearest

_ADVICE = 'Write one object a line, as in {"text": "..."}.'


def open_jsonl(path: Path) -> Table:
    """Open a file of JSON Lines; empty lines are skipped.

    Columns are the keys of the first object; values of other keys are not looked at.

    Args:
        path: The file, UTF-8.

    Raises:
        DataError: The file cannot be read, or its first line is no object.
    """
    first = next(_read_objects(path), None)

    def read_rows(names: Sequence[str]) -> Iterator[Row]:
        for number, found in _read_objects(path):
            for name in names:
                if name not in found:
                    raise DataError(
                        f"{path}, line {number}: there is no key {show(name)}. Keys of this line are: "
                        f"{', '.join(map(show, found)) or 'none'}.{nearest(name, found)} Every line has the same keys. "
                        "Add it, or remove the line."
                    )
            yield number, [found[name] for name in names]

    return Table(source=str(path), columns=None if first is None else tuple(first[1]), read_rows=read_rows)


class _TwiceError(Exception):
    """An object has a key twice; holds all its keys."""

    def __init__(self, keys: list[str]) -> None:
        super().__init__()
        self.keys = keys


def _collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _TwiceError([key for key, _ in pairs])
    return found


def _read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    decoder = json.JSONDecoder(object_pairs_hook=_collect)
    for number, line in enumerate(stream_lines(path), start=1):
        if line.strip():
            yield number, _read_object(line, decoder, place=f"{path}, line {number}")


def _read_object(line: str, decoder: json.JSONDecoder, *, place: str) -> dict[str, Any]:
    try:
        found: object = decoder.decode(line)
    except _TwiceError as error:
        check_names(error.keys, place=place)
        raise
    except json.JSONDecodeError as error:
        raise DataError(
            f"{place}: this is not JSON: {error.msg} at character {error.pos + 1} ({show(line)}). {_ADVICE}"
        ) from None
    except (RecursionError, ValueError):
        raise DataError(
            f"{place}: a value is nested too deeply or has too many digits ({show(line)}). {_ADVICE}"
        ) from None
    if isinstance(found, list):
        raise DataError(
            f"{place}: the line holds a list where an object was expected ({show(line)}). {_ADVICE} A file that is one "
            "list becomes one by `jq -c '.[]'`."
        )
    if not isinstance(found, dict):
        raise DataError(
            f"{place}: the line holds {show(line.strip())} where an object was expected. {_ADVICE}"
        )
    return cast("dict[str, Any]", found)
