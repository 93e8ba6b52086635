from __future__ import annotations

import pytest

from polygraft.errors import StoreError
from polygraft.store.fields import JsonValue
from polygraft.store.migrate import MIGRATIONS, SCHEMA, migrate


def add_license(raw: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {**raw, "license": None}


def rename_f(raw: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {**{key: value for key, value in raw.items() if key != "f"}, "f1": raw["f"]}


def test_a_table_leads_from_every_old_schema_to_this_one():
    assert sorted(MIGRATIONS) == list(range(1, SCHEMA))


def test_a_manifest_of_this_schema_stays_as_it_is():
    assert migrate({"schema": SCHEMA, "name": "ner"}, where="x") == {"schema": SCHEMA, "name": "ner"}


def test_steps_are_taken_one_after_the_other():
    old: dict[str, JsonValue] = {"schema": 1, "f": 0.5}
    new = migrate(old, where="x", steps={1: add_license, 2: rename_f}, current=3)
    assert new == {"schema": 3, "license": None, "f1": 0.5}
    assert old == {"schema": 1, "f": 0.5}


def test_a_newer_schema_asks_for_an_upgrade():
    with pytest.raises(StoreError) as caught:
        migrate({"schema": 4}, where="x", current=3)
    assert str(caught.value) == (
        "x has schema 4, and this polygraft reads schemas 1 to 3. A newer polygraft wrote it. "
        "Upgrade with `pip install --upgrade polygraft`."
    )


def test_a_gap_in_the_table_is_named():
    with pytest.raises(StoreError) as caught:
        migrate({"schema": 1}, where="x", steps={1: add_license}, current=3)
    assert str(caught.value) == (
        "x has schema 1, and no step leads from schema 2 to 3. This polygraft writes schema 3. "
        "Put the graft in again."
    )


@pytest.mark.parametrize("schema", [None, True, 0, -1, "1", 1.0])
def test_a_schema_that_is_no_counting_number_is_refused(schema: JsonValue):
    with pytest.raises(StoreError, match=r"^x: 'schema' is .* where a whole number from 1 to 1 was expected"):
        migrate({"schema": schema}, where="x")
