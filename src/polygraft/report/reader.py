"""Reads JSON into dataclasses and accepts nothing that the dataclass does not declare."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, Union

from polygraft.errors import DataError, nearest

_T = TypeVar("_T")

NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""How numbers that JSON does not have are written, so that a diverged run can still be reported."""

_SCALARS: dict[type, tuple[str, Callable[[object], bool]]] = {
    str: ("a text", lambda value: isinstance(value, str)),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    float: ("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool)),
    types.NoneType: ("null", lambda value: value is None),
}


def to_plain(value: object) -> object:
    """Turn dataclasses, mappings and tuples into what JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: to_plain(vars(value)[name]) for name in names}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def from_plain(value: object, kind: Any, *, place: str) -> Any:
    """Make a `kind` of plain JSON values, or say where they do not fit.

    Args:
        kind: A dataclass, a scalar type, or a `tuple[X, ...]`, `Mapping[str, X]` or union of such.
        place: Where the value stands ("results[3].score"); messages begin with it.

    Raises:
        DataError: A key is unknown or missing, or a value has another type.
    """
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(value, kind, place=place)
    if origin is tuple:
        item_kind = typing.get_args(kind)[0]
        items = _expect(value, list, "a list", place=place)
        return tuple(from_plain(item, item_kind, place=f"{place}[{i}]") for i, item in enumerate(items))
    if origin in (Mapping, dict):
        item_kind = typing.get_args(kind)[1]
        entries = _expect(value, dict, "an object", place=place)
        return {key: from_plain(item, item_kind, place=f"{place}.{key}") for key, item in entries.items()}
    if origin in (Union, types.UnionType):
        return _read_union(value, typing.get_args(kind), place=place)
    if kind in _SCALARS:
        return _read_scalar(value, kind, place=place)
    return value


def _read_dataclass(value: object, kind: Any, *, place: str) -> Any:
    entries = _expect(value, dict, "an object", place=place)
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in entries:
        if key not in fields:
            raise DataError(
                f"{place} has the key '{key}', which is not known here.{nearest(key, fields)} "
                f"Known keys are {', '.join(fields)}. Take the key out, or use the polygraft that wrote it."
            )
    for name, field in fields.items():
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if needed and name not in entries:
            raise DataError(
                f"{place} lacks the key '{name}'. Its keys should be {', '.join(fields)}. "
                "Write the file again with `polygraft run`."
            )
    return kind(
        **{key: from_plain(item, hints[key], place=f"{place}.{key}") for key, item in entries.items()}
    )


def _read_union(value: object, kinds: tuple[Any, ...], *, place: str) -> Any:
    if value is None and types.NoneType in kinds:
        return None
    for kind in kinds:
        if kind in _SCALARS and kind is not types.NoneType and _fits(value, kind):
            return _read_scalar(value, kind, place=place)
    others = [kind for kind in kinds if kind is not types.NoneType]
    if len(others) == 1:
        return from_plain(value, others[0], place=place)
    expected = " or ".join(_SCALARS[kind][0] for kind in kinds if kind in _SCALARS)
    raise _wrong(value, expected, place=place)


def _fits(value: object, kind: type) -> bool:
    return _SCALARS[kind][1](value)


def _read_scalar(value: object, kind: type, *, place: str) -> object:
    if kind is float and isinstance(value, str) and value in NOT_FINITE:
        return NOT_FINITE[value]
    if not _fits(value, kind):
        raise _wrong(value, _SCALARS[kind][0], place=place)
    return float(value) if kind is float and isinstance(value, int) else value


def _expect(value: object, kind: type[_T], words: str, *, place: str) -> _T:
    if not isinstance(value, kind):
        raise _wrong(value, words, place=place)
    return value


def _wrong(value: object, expected: str, *, place: str) -> DataError:
    return DataError(
        f"{place} is {value!r:.60}, where {expected} was expected. "
        "Write the file again with `polygraft run`, or mend the value."
    )
