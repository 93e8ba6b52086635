"""Every attack is answered by a whole sentence, and by no other kind of error."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from attacks.attack import Attack, make_store, vouch
from attacks.folders import ATTACKS as FOLDERS
from attacks.manifests import ATTACKS as MANIFESTS
from attacks.tensors import ATTACKS as TENSORS
from hypothesis import given, settings
from hypothesis import strategies as st

from polygraft.errors import StoreError
from polygraft.store.store import Store

ATTACKS = {**MANIFESTS, **TENSORS, **FOLDERS}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))
def test_an_attack_gets_its_sentence(attack: Attack, tmp_path: Path):
    store = make_store(tmp_path / "store")
    folder = tmp_path / "store" / "ner" / "1"
    attack.spoil(folder)
    with pytest.raises(StoreError) as caught:
        store.get("ner")
    expected = attack.says.replace("{folder}", str(folder)).replace("{graft}", str(folder.parent))
    assert str(caught.value) == expected


def test_no_two_files_give_an_attack_the_same_name():
    assert len(ATTACKS) == len(MANIFESTS) + len(TENSORS) + len(FOLDERS)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))
def test_a_spoiled_graft_is_listed_or_left_out_but_never_breaks_the_rest(attack: Attack, tmp_path: Path):
    store = make_store(tmp_path / "store")
    store.rename("ner", "good")
    make_store(tmp_path / "store")
    attack.spoil(tmp_path / "store" / "ner" / "1")
    assert "good" in store.names()
    assert store.verify("good").num_parameters == 18
    assert store.find_step("no such step") is None


CHANGES = st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=6)), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        yield make_store(Path(folder) / "store")


def changed(content: bytes, changes: list[tuple[int, bytes]]) -> bytes:
    for start, new in changes:
        place = start % len(content)
        content = content[:place] + new + content[place + len(new) :]
    return content


@settings(max_examples=60, deadline=None)
@given(changes=CHANGES)
@pytest.mark.parametrize("file", ["graft.json", "graft.safetensors", "vouched"])
def test_any_change_of_bytes_is_harmless_or_gets_a_sentence(
    store: Store, file: str, changes: list[tuple[int, bytes]]
):
    folder, whole = store.folder / "ner" / "1", store.manifest("ner")
    shutil.copytree(folder, store.folder / "aside")
    try:
        path = folder / file.replace("vouched", "graft.safetensors")
        before = path.read_bytes()
        after = changed(before, changes)
        path.write_bytes(after)
        if file == "vouched":
            vouch(folder, after)
        try:
            found, _ = store.get("ner")
        except StoreError as error:
            assert str(error).endswith(("again.", "name.", "file.", "rename`.", "up.", "polygraft`."))
        else:
            assert file != "graft.safetensors" or after == before
            assert file != "graft.json" or found == whole
    finally:
        shutil.rmtree(folder)
        (store.folder / "aside").rename(folder)
