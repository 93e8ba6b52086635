"""Another library's configuration: every key is understood, or an error names it with its value."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from polygraft.errors import DataError, nearest
from polygraft.store.fields import JsonValue


class Options:
    """The keys of a configuration, taken one by one; `close` refuses what nobody took.

    Args:
        values: The keys and values.
        where: What the messages call the configuration.
    """

    def __init__(self, values: Mapping[str, JsonValue], *, where: str) -> None:
        self.values = values
        self.where = where
        self.taken: set[str] = set()

    def take(self, key: str, default: JsonValue = None) -> JsonValue:
        """Give the value of a key, whatever it is; null counts as not given."""
        self.taken.add(key)
        value = self.values.get(key)
        return default if value is None else value

    def ignore(self, *keys: str) -> None:
        """Accept keys whose values change nothing that a graft computes."""
        self.taken.update(keys)

    def expect(self, key: str, *wanted: JsonValue, why: str) -> None:
        """Accept a key only if it is not given or has one of some values.

        Args:
            key: The key.
            wanted: The values; null is always accepted.
            why: What any other value would ask for, for the message.

        Raises:
            DataError: It has another value.
        """
        value = self.take(key)
        if value is not None and not any(value == item and type(value) is type(item) for item in wanted):
            listed = " or ".join(json.dumps(item) for item in wanted)
            raise self.refuse(key, value, why=why, expected=listed or "null")

    def flag(self, key: str, *, default: bool) -> bool:
        """Give a truth value.

        Raises:
            DataError: It is something else.
        """
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise self.refuse(key, value, why="that is no truth value", expected="true or false")
        return value

    def text(self, key: str, default: str | None = None) -> str | None:
        """Give a text, or None.

        Raises:
            DataError: It is something else.
        """
        value = self.take(key, default)
        if value is not None and not isinstance(value, str):
            raise self.refuse(key, value, why="that is no text", expected="text")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Give a finite number.

        Raises:
            DataError: It is missing, or something else.
        """
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.refuse(key, value, why="that is no number that polygraft knows", expected="a number")
        return value

    def whole(self, key: str, default: int | None = None) -> int:
        """Give a whole number of 0 or more.

        Raises:
            DataError: It is missing, or something else.
        """
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.refuse(
                key, value, why="that is no whole number", expected="a whole number of 0 or more"
            )
        return value

    def wholes(self, key: str) -> tuple[int, ...]:
        """Give a list of whole numbers; none if it is not given.

        Raises:
            DataError: It is something else.
        """
        value = self.take(key, [])
        items = value if isinstance(value, list) else [None]
        found = [item for item in items if isinstance(item, int) and not isinstance(item, bool)]
        if len(found) != len(items):
            raise self.refuse(key, value, why="that is no list of whole numbers", expected="a list of them")
        return tuple(found)

    def texts(self, key: str) -> tuple[str, ...]:
        """Give a list of texts; one text counts as a list of one, none as empty.

        Raises:
            DataError: It is something else.
        """
        value = self.take(key, [])
        items: Sequence[object] = (
            [value] if isinstance(value, str) else value if isinstance(value, list) else [None]
        )
        found = [item for item in items if isinstance(item, str)]
        if len(found) != len(items):
            raise self.refuse(key, value, why="that is no list of names", expected="a list of them")
        return tuple(found)

    def mapping(self, key: str) -> dict[str, JsonValue] | None:
        """Give an object, or None.

        Raises:
            DataError: It is something else.
        """
        value = self.take(key)
        if value is not None and not isinstance(value, dict):
            raise self.refuse(key, value, why="that is no object", expected="an object")
        return value

    def pass_over_empty(self) -> None:
        """Accept keys that nobody took and that ask for nothing: null, false, an empty list or object.

        A newer release of a library adds keys for what it has learned to do, and writes them where nobody asked for it.
        """
        self.taken.update(
            key for key, value in self.values.items() if value is None or value is False or value in ([], {})
        )

    def close(self) -> None:
        """Refuse keys that nobody took.

        Raises:
            DataError: There is one.
        """
        for key in self.values:
            if key not in self.taken:
                raise DataError(
                    f"{self.where} has {key[:80]} = {show(self.values[key])}, a key that polygraft does not know, so "
                    "it cannot vouch for the numbers. Expected "
                    f"{', '.join(sorted(self.taken))}.{nearest(key, self.taken)} Take a newer polygraft, or write the "
                    "folder again with its own library and without this option."
                )

    def refuse(self, key: str, value: object, *, why: str, expected: str) -> DataError:
        """Make the error for a value that is not understood."""
        return DataError(
            f"{self.where} has {key} = {show(value)}: {why}. Expected {expected}. What was trained with that cannot "
            "be brought over; nothing was written."
        )


def show(value: object) -> str:
    """Give a value of a configuration as JSON, cut where it is long.

    Example:
        >>> show(None), show([1, 2])
        ('null', '[1, 2]')
    """
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
