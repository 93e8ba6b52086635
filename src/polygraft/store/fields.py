"""Reading JSON that nobody vouches for: bounded, without duplicates, with closed objects."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, cast

from polygraft.errors import StoreError, nearest

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"

MAX_JSON_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 32
MAX_WHOLE = 2**63 - 1
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_SHOWN = 60


def shown(value: object) -> str:
    """Give a value as a message may print it: quoted, without control characters, cut at 60."""
    if isinstance(value, str):
        return repr(value if len(value) <= _SHOWN else value[: _SHOWN - 3] + "...")
    try:
        text = ascii(value)
    except (RecursionError, ValueError):
        return f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def parse_object(data: bytes, *, where: str) -> dict[str, JsonValue]:
    """Read bytes as one JSON object with unique keys, finite numbers and little nesting.

    Args:
        data: The bytes, UTF-8.
        where: What the messages call the place the bytes came from.

    Raises:
        StoreError: The bytes are anything else; the sentence says what.
    """
    if len(data) > MAX_JSON_BYTES:
        raise StoreError(
            f"{where} holds {len(data)} bytes of JSON, where at most {MAX_JSON_BYTES} are read. "
            "It was not written by polygraft. Put the graft in again."
        )
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except _JsonRefusedError as refused:
        raise _not_json(where, str(refused)) from None
    except RecursionError:
        raise _not_json(where, f"it is nested deeper than {MAX_DEPTH} levels") from None
    except UnicodeDecodeError as error:
        raise _not_json(where, f"byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _not_json(where, f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    if not isinstance(value, dict):
        raise _not_json(where, f"it holds {_kind(value)} where an object was expected")
    checked = cast("dict[str, JsonValue]", value)
    _check_tree(checked, where=where)
    return checked


class Fields:
    """One JSON object of a closed schema, read key by key.

    Args:
        value: The object.
        where: What the messages call the file.
        known: Every key that the object must have; no other is allowed.
        path: Where in the file the object stands, for the messages; empty at the top.
    """

    def __init__(self, value: JsonValue, *, where: str, known: Sequence[str], path: str = "") -> None:
        self.where = where
        self.path = path
        self.value = self._mapping(value, path or "the file")
        place = f" in '{path}'" if path else ""
        for key in self.value:
            if key not in known:
                raise StoreError(
                    f"{where} has the key {shown(key)}{place}, which the schema does not know."
                    f"{nearest(key[:100], known)} The known keys are {', '.join(known)}. "
                    "Remove the key, or upgrade polygraft if a newer one wrote the file."
                )
        for key in known:
            if key not in self.value:
                raise StoreError(
                    f"{where} lacks the key '{key}'{place}. "
                    f"The keys {', '.join(known)} are all needed. Put the graft in again."
                )

    def text(self, key: str) -> str:
        """Give the text under a key."""
        return self._text(self.value[key], self.at(key))

    def optional_text(self, key: str) -> str | None:
        """Give the text or null under a key."""
        value = self.value[key]
        if value is not None and not isinstance(value, str):
            raise self.wrong(self.at(key), value, "text or null")
        return value

    def whole(self, key: str, *, at_least: int = 0) -> int:
        """Give the whole number under a key."""
        return self._whole(self.value[key], self.at(key), at_least)

    def wholes(self, key: str) -> tuple[int, ...]:
        """Give the list of whole numbers, none negative, under a key."""
        return tuple(
            self._whole(item, f"{self.at(key)}[{index}]", 0) for index, item in enumerate(self.items(key))
        )

    def mapping(self, key: str) -> Mapping[str, JsonValue]:
        """Give the object under a key as it is; its keys are free."""
        return self._mapping(self.value[key], self.at(key))

    def numbers(self, key: str) -> dict[str, float]:
        """Give the object under a key, all of whose values are numbers."""
        return self._numbers(self.value[key], self.at(key))

    def rows(self, key: str) -> tuple[dict[str, float], ...]:
        """Give the list under a key, all of whose items are objects of numbers."""
        return tuple(
            self._numbers(item, f"{self.at(key)}[{index}]") for index, item in enumerate(self.items(key))
        )

    def texts(self, key: str) -> dict[str, str]:
        """Give the object under a key, all of whose values are text."""
        place = self.at(key)
        return {
            name: self._text(item, f"{place}.{name}")
            for name, item in self._mapping(self.value[key], place).items()
        }

    def items(self, key: str) -> Sequence[JsonValue]:
        """Give the list under a key."""
        value = self.value[key]
        if not isinstance(value, list):
            raise self.wrong(self.at(key), value, "a list")
        return cast("Sequence[JsonValue]", value)

    def object(self, key: str, *, known: Sequence[str]) -> Fields:
        """Give the closed object under a key."""
        return Fields(self.value[key], where=self.where, known=known, path=self.at(key))

    def objects(self, key: str, *, known: Sequence[str]) -> tuple[Fields, ...]:
        """Give the list of closed objects under a key."""
        place = self.at(key)
        return tuple(
            Fields(item, where=self.where, known=known, path=f"{place}[{index}]")
            for index, item in enumerate(self.items(key))
        )

    def named_objects(self, key: str, *, known: Sequence[str]) -> dict[str, Fields]:
        """Give the object under a key, all of whose values are closed objects."""
        place = self.at(key)
        return {
            name: Fields(item, where=self.where, known=known, path=f"{place}.{name[:_SHOWN]}")
            for name, item in self._mapping(self.value[key], place).items()
        }

    def at(self, key: str) -> str:
        """Give the dotted path of a key."""
        return f"{self.path}.{key}" if self.path else key

    def wrong(self, place: str, value: object, expected: str) -> StoreError:
        """Make the error for a value of the wrong kind."""
        return StoreError(
            f"{self.where}: '{place}' is {shown(value)} where {expected} was expected. "
            "The file was changed after it was written. Put the graft in again."
        )

    def _mapping(self, value: JsonValue, place: str) -> Mapping[str, JsonValue]:
        if not isinstance(value, dict):
            raise self.wrong(place, value, "an object")
        return cast("Mapping[str, JsonValue]", value)

    def _text(self, value: JsonValue, place: str) -> str:
        if not isinstance(value, str):
            raise self.wrong(place, value, "text")
        return value

    def _whole(self, value: JsonValue, place: str, at_least: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
            raise self.wrong(place, value, f"a whole number of at least {at_least}")
        return value

    def _numbers(self, value: JsonValue, place: str) -> dict[str, float]:
        numbers: dict[str, float] = {}
        for name, item in self._mapping(value, place).items():
            if isinstance(item, bool) or not isinstance(item, int | float):
                raise self.wrong(f"{place}.{name[:_SHOWN]}", item, "a number")
            numbers[name] = float(item)
        return numbers


class _JsonRefusedError(Exception):
    """The JSON is well formed and still not accepted."""


def _unique(pairs: Iterable[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {}
    for key, value in pairs:
        if key in found:
            raise _JsonRefusedError(f"the key {shown(key)} stands twice in one object")
        found[key] = value
    return found


def _refuse_constant(name: str) -> float:
    raise _JsonRefusedError(f"it holds {name}, which is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _JsonRefusedError(f"the number {shown(text)} is too large")
    return value


def _whole(text: str) -> int:
    if len(text) > len(str(MAX_WHOLE)) + 1 or abs(int(text)) > MAX_WHOLE:
        raise _JsonRefusedError(f"the number {shown(text)} is too large")
    return int(text)


def _check_tree(value: JsonValue, *, where: str) -> None:
    waiting: list[tuple[JsonValue, int]] = [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise _not_json(where, f"it is nested deeper than {MAX_DEPTH} levels")
        if isinstance(item, str):
            _check_text(item, where=where)
        elif isinstance(item, Mapping):
            for key, inner in item.items():
                _check_text(key, where=where)
                waiting.append((inner, depth + 1))
        elif isinstance(item, Sequence):
            waiting.extend((inner, depth + 1) for inner in item)


def _check_text(text: str, *, where: str) -> None:
    if not text.isascii() or not text.isprintable():
        found = _FORBIDDEN.search(text)
        if found:
            raise _not_json(where, f"{shown(text)} has the control character U+{ord(found[0]):04X}")


def _kind(value: object) -> str:
    if value is None:
        return "null"
    return "a list" if isinstance(value, list) else f"the value {shown(value)}"


def _not_json(where: str, reason: str) -> StoreError:
    return StoreError(
        f"{where} is not the JSON that polygraft writes: {reason}. "
        "An object with unique keys, finite numbers and plain text was expected. Put the graft in again."
    )
