from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from attacks.attack import digest_of
from tests.store.made import manifest

from polygraft.errors import StoreError
from polygraft.store.fields import JsonValue
from polygraft.store.manifest import manifest_from_json
from polygraft.store.migrate import MIGRATIONS, SCHEMA, migrate
from polygraft.store.store import Store

OLD = Path(__file__).parent.parent / "formats" / "store-schema-1"
"""A store as a polygraft of schema 1 wrote it."""


def add_license(raw: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {**raw, "license": None}


def rename_f(raw: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {**{key: value for key, value in raw.items() if key != "f"}, "f1": raw["f"]}


def test_a_table_leads_from_every_old_schema_to_this_one():
    assert sorted(MIGRATIONS) == list(range(1, SCHEMA))


def test_a_manifest_of_this_schema_stays_as_it_is():
    assert migrate({"schema": SCHEMA, "name": "ner"}, where="x") == {"schema": SCHEMA, "name": "ner"}


def test_a_graft_of_schema_1_is_read_and_rewritten_with_a_digest(tmp_path: Path):
    shutil.copytree(OLD, tmp_path / "store")
    store = Store(tmp_path / "store")
    found, numbers = store.get("ner")
    expected = manifest(
        version=1, num_parameters=12, num_bytes=286, sha256=found.sha256, tensors=found.tensors
    )
    assert found == expected
    assert numbers["bottleneck.0.down"].tolist() == [[0.5] * 3] * 2
    store.rename("ner", "names")
    raw = json.loads((store.folder / "names" / "1" / "graft.json").read_text("utf-8"))
    assert (raw["schema"], raw["digest"]) == (2, digest_of(raw))
    assert store.verify("names").sha256 == found.sha256


def test_the_old_schema_has_no_digest_and_the_new_one_needs_it():
    old = json.loads((OLD / "ner" / "1" / "graft.json").read_text("utf-8"))
    assert (old["schema"], "digest" in old) == (1, False)
    assert migrate(old, where="x") == {**old, "schema": 2, "digest": None}
    with pytest.raises(StoreError, match=r"^x lacks the key 'digest'\. The keys name, parts, "):
        manifest_from_json(json.dumps({**old, "schema": 2}), where="x")


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
    with pytest.raises(StoreError, match=r"^x: 'schema' is .* where a whole number from 1 to 2 was expected"):
        migrate({"schema": schema}, where="x")
