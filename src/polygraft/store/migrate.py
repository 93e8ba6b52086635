"""Old manifests brought to today's schema, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from polygraft.errors import StoreError
from polygraft.store.fields import JsonValue, shown

SCHEMA = 2


def add_digest(raw: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Take schema 1, which nothing vouches for, to schema 2, which has the key `digest`."""
    return {"digest": None, **raw}


MIGRATIONS: Mapping[int, Callable[[dict[str, JsonValue]], dict[str, JsonValue]]] = {1: add_digest}
"""From schema N to schema N + 1: `{1: add_license, 2: rename_scores}` takes 1 to 3."""


def migrate(
    raw: dict[str, JsonValue],
    *,
    where: str,
    steps: Mapping[int, Callable[[dict[str, JsonValue]], dict[str, JsonValue]]] = MIGRATIONS,
    current: int = SCHEMA,
) -> dict[str, JsonValue]:
    """Bring a manifest of any known schema to the current one.

    Args:
        raw: The manifest as it was read; it is not changed.
        where: What the messages call the file.
        steps: The function that leads from each schema to the next.
        current: The schema to end at.

    Raises:
        StoreError: The schema is newer than this polygraft, or no step leads on from it.

    Example:
        >>> migrate({"schema": 1, "name": "ner"}, where="graft.json")
        {'digest': None, 'schema': 2, 'name': 'ner'}
    """
    schema = raw.get("schema")
    if isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
        raise StoreError(
            f"{where}: 'schema' is {shown(schema)} where a whole number from 1 to {current} was expected. "
            "The file is no polygraft manifest, or was changed. Put the graft in again."
        )
    if schema > current:
        raise StoreError(
            f"{where} has schema {schema}, and this polygraft reads schemas 1 to {current}. "
            "A newer polygraft wrote it. Upgrade with `pip install --upgrade polygraft`."
        )
    found = dict(raw)
    for number in range(schema, current):
        if number not in steps:
            raise StoreError(
                f"{where} has schema {schema}, and no step leads from schema {number} to {number + 1}. "
                f"This polygraft writes schema {current}. Put the graft in again."
            )
        found = {**steps[number](found), "schema": number + 1}
    return found
