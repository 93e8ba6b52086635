"""Which languages and tasks the plans of a routed batch are of; needs neither polygraft nor torch."""

from __future__ import annotations

NUM_EACH = 8
"""Languages, and tasks."""


def list_pairs(count: int) -> list[tuple[int, int]]:
    """List as many pairs of a language and a task as there are to be plans, no two the same."""
    return [divmod(index * NUM_EACH**2 // count, NUM_EACH) for index in range(count)]
