"""Turns the tables of a TOML file into dataclasses, and refuses what they do not know."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from polygraft.errors import RecipeError, nearest

T = TypeVar("T")
NAMES: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path in quotes",
}
"""What messages call a value of a type."""


def read_table(kind: type[T], table: object, *, where: str) -> T:
    """Make a dataclass of a table.

    Args:
        kind: The dataclass; its fields are the keys.
        table: What the file has.
        where: The table's name, for messages.

    Raises:
        RecipeError: A key is unknown or missing, or a value is of another type.
    """
    if not isinstance(table, Mapping):
        raise RecipeError(
            f"'{where}' is {table!r}. Expected a table. Write it as [{where}] with keys below it."
        )
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    for key in table:
        if key not in fields:
            raise RecipeError(
                f"The recipe has {name_key(where, str(key))}, which means nothing. Keys of [{where}] "
                f"are {', '.join(fields)}.{nearest(str(key), fields)} Correct the name."
            )
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in table:
            values[name] = read_value(hints[name], table[name], where=name_key(where, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise RecipeError(f"The recipe lacks {name_key(where, name)}. [{where}] needs it. Add it.")
    return kind(**values)


def name_key(where: str, key: str) -> str:
    """Give the dotted name of a key in a table."""
    return f"{where}.{key}" if where else key


def read_value(hint: Any, value: object, *, where: str) -> Any:
    """Check a value against a type, and turn it into one.

    Raises:
        RecipeError: It is of another type.
    """
    if hint is Any:
        return value
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in arguments if kind is not type(None)]
        return _read_one_of(kinds, value, where=where)
    if origin is Literal:
        if value not in arguments:
            raise _wrong(where, value, "one of " + ", ".join(repr(choice) for choice in arguments))
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(where, value, "a list")
        return tuple(read_value(arguments[0], item, where=where) for item in value)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise _wrong(where, value, "a table")
        return {
            str(key): read_value(arguments[1], item, where=f"{where}.{key}") for key, item in value.items()
        }
    if dataclasses.is_dataclass(hint):
        return read_table(typing.cast("type[Any]", hint), value, where=where)
    return _read_plain(hint, value, where=where)


def _read_one_of(kinds: list[Any], value: object, *, where: str) -> Any:
    # A list is read as one where one may stand.
    lists = [kind for kind in kinds if get_origin(kind) is tuple]
    if lists or len(kinds) == 1:
        return read_value((lists if isinstance(value, list) else kinds)[0], value, where=where)
    # The value is of one of the types already, and true is no number.
    if isinstance(value, bool) or not isinstance(value, tuple(kinds)):
        raise _wrong(where, value, " or ".join(NAMES[kind] for kind in kinds))
    return value


def _read_plain(hint: type, value: object, *, where: str) -> Any:
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint in (str, Path) and isinstance(value, str):
        return hint(value)
    raise _wrong(where, value, NAMES[hint])


def _wrong(where: str, value: object, expected: str) -> RecipeError:
    return RecipeError(f"The recipe has {where} = {value!r}. Expected {expected}. Correct the value.")


def check_value(name: str, value: object, *, is_fine: bool, expected: str) -> None:
    """Refuse the value of a key that cannot be meant.

    Args:
        name: The key, with its tables.
        value: What the recipe has.
        is_fine: Whether it can be meant.
        expected: What can.

    Raises:
        RecipeError: It cannot.
    """
    if not is_fine:
        raise RecipeError(f"The recipe has {name} = {value}. Expected {expected}. Correct the value.")
