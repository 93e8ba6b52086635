"""Every error that polygraft raises on purpose.

PolygraftError              exit 1, HTTP 500
├── BaseModelError          400   the base cannot be loaded or is of an unknown family
├── FingerprintError        409   a graft meets another base or another tokenizer
├── OptionError             422   an option has a value that cannot be meant
├── GraftError              422   a graft's tensors do not fit, or a graft is never reached
├── PlanError               400   a plan cannot be read or names what is not there
├── DataError               422   an input file cannot be read as what it should be
├── StoreError              409   a store or a graft in it is damaged or refuses a change
│   └── NotInStoreError     404   a name or version that the store does not hold
├── TrainError              500   training cannot start or go on
├── RecipeError             422   a recipe cannot be read or asks for the impossible
└── MissingExtraError       501   an optional dependency is not installed

A message has three parts: what happened, with the values; what was expected, with the known
names; what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class PolygraftError(Exception):
    """Something that the program can explain in a sentence."""

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __str__(self) -> str:
        """Give the message followed by the context that was added on the way out."""
        notes: list[str] = list(getattr(self, "__notes__", ()))
        return " ".join([super().__str__(), *notes])


class BaseModelError(PolygraftError):
    """The base cannot be loaded, or its architecture is not in the table of families."""

    http_status = 400


class FingerprintError(PolygraftError):
    """A graft was trained on another base or another tokenizer."""

    http_status = 409


class OptionError(PolygraftError):
    """An option has a value that cannot be meant."""

    http_status = 422


class GraftError(PolygraftError):
    """A graft's tensors do not fit its manifest, its base, or are never reached."""

    http_status = 422


class PlanError(PolygraftError):
    """A plan cannot be read, or names a graft that is not there."""

    http_status = 400


class DataError(PolygraftError):
    """An input file cannot be read as what it should be."""

    http_status = 422


class StoreError(PolygraftError):
    """A store, or a graft in it, is damaged or refuses the change."""

    http_status = 409


class NotInStoreError(StoreError):
    """The store holds no graft of that name or version."""

    http_status = 404


class TrainError(PolygraftError):
    """Training cannot start or cannot go on."""

    http_status = 500


class RecipeError(PolygraftError):
    """A recipe cannot be read, or asks for what cannot be done."""

    http_status = 422


class MissingExtraError(PolygraftError):
    """An optional dependency is needed and not installed."""

    http_status = 501


def nearest(name: str, known: Iterable[str]) -> str:
    """Give " Did you mean 'x'?" for the known name closest to `name`, or nothing.

    Example:
        >>> nearest("bottelneck", ["bottleneck", "head"])
        " Did you mean 'bottleneck'?"
    """
    found = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean '{found[0]}'?" if found else ""
