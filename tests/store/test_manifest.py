from __future__ import annotations

import dataclasses
import json

import pytest
from attacks.attack import digest_of
from hypothesis import given
from hypothesis import strategies as st
from tests.store.made import MANIFEST, manifest

from polygraft.errors import StoreError
from polygraft.store.manifest import (
    Manifest,
    TensorRecord,
    check_name,
    digest_document,
    manifest_from_json,
    manifest_to_json,
)


def test_a_manifest_is_read_as_it_was_written():
    full = manifest(tensors={"a": TensorRecord(shape=(2, 3), dtype="float32")}, sha256="0f" * 32, num_bytes=9)
    assert manifest_from_json(manifest_to_json(full)) == full


def test_equal_manifests_give_equal_text():
    turned = manifest(hyperparameters={"amp": False, "epochs": 10, "lr": 1e-4})
    assert manifest_to_json(turned) == manifest_to_json(MANIFEST)


def test_a_manifest_is_written_with_the_digest_of_its_other_keys():
    raw = json.loads(manifest_to_json(MANIFEST))
    assert raw["digest"] == digest_of(raw) == digest_document(raw)
    assert json.loads(manifest_to_json(manifest(name="en")))["digest"] != raw["digest"]


def test_how_the_json_is_laid_out_does_not_matter():
    raw = json.loads(manifest_to_json(MANIFEST))
    turned = {key: raw[key] for key in reversed(list(raw))}
    assert manifest_from_json(json.dumps(turned, indent=4, ensure_ascii=False)) == MANIFEST


@pytest.mark.parametrize("key", [item.name for item in dataclasses.fields(Manifest)])
def test_no_key_can_be_changed_unnoticed(key: str):
    raw = json.loads(manifest_to_json(MANIFEST))
    twisted = {"schema": 1}.get(key, [raw[key]])
    with pytest.raises(StoreError, match=r"^x does not match its own digest: sha256 over its other keys is "):
        manifest_from_json(json.dumps({**raw, key: twisted}), where="x")


@pytest.mark.parametrize("name", ["ner", "a", "En_us.v2-b", "0", "a" * 64])
def test_a_good_name_passes(name: str):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a..b",
        ".hidden",
        "-x",
        "_x",
        "a/b",
        "a\\b",
        "a b",
        "a\n",
        "a\0",
        "ñ",
        "a" * 65,
        "١",
        "c:",
    ],
)
def test_a_bad_name_gets_its_sentence(name: str):
    with pytest.raises(StoreError) as caught:
        check_name(name)
    assert str(caught.value).endswith(
        " cannot be a graft's name. A name has 1 to 64 of the characters A-Z a-z 0-9 _ . -, begins with a "
        "letter or digit, and has no two dots in a row. Choose another name."
    )


@given(st.text(max_size=70))
def test_no_accepted_name_leaves_its_folder(name: str):
    try:
        check_name(name)
    except StoreError:
        return
    assert not set(name) & set("/\\:\0 ") and ".." not in name and name[0] not in ".-" and name.isascii()


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ({"loss": float("nan")}, "Out of range float values are not JSON compliant"),
        ({"loss": object}, "Object of type type is not JSON serializable"),
        ({1: 0.5}, "the key 1 is not text"),
    ],
)
def test_a_value_that_json_lacks_gets_its_sentence(scores: object, reason: str):
    with pytest.raises(StoreError) as caught:
        manifest_to_json(manifest(scores=scores))
    assert str(caught.value).startswith(f"The manifest of graft 'ner' cannot be written as JSON: {reason}")
    assert str(caught.value).endswith("Change the value and put the graft in again.")


def test_a_mapping_that_contains_itself_gets_a_sentence():
    loop: dict[str, object] = {}
    loop["again"] = loop
    with pytest.raises(StoreError, match=r"^The manifest of graft 'ner' cannot be written as JSON: "):
        manifest_to_json(manifest(hyperparameters=loop))


def test_tuples_come_back_as_lists_that_are_equal_the_next_time():
    once = manifest_from_json(manifest_to_json(manifest(hyperparameters={"skip": (1, 2)})))
    assert once.hyperparameters == {"skip": [1, 2]}
    assert manifest_from_json(manifest_to_json(once)) == once
