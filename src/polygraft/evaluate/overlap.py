"""How alike the pieces of one test file are with the texts that language grafts learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """What says which language is nearest to a test: 1 less the Jensen-Shannon divergence of the pieces, in bits.

    Example:
        >>> Overlap(task="ner", source="en", language="yor", by_language={"en": 0.2, "swa": 0.5}).nearest
        'swa'
    """

    task: str
    source: str
    """The language of the labels that were learned."""
    language: str
    """The test's."""
    by_language: Mapping[str, float]
    """Of each other language's text, between 0 (no piece in common) and 1."""

    @property
    def nearest(self) -> str | None:
        """The language whose text is most alike, the first of equal ones; None where there is none."""
        return max(self.by_language, key=self.by_language.__getitem__, default=None)
