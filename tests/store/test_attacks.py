"""Every attack is answered by a whole sentence, and by no other kind of error."""

from __future__ import annotations

from pathlib import Path

import pytest
from attacks.attack import Attack, make_store
from attacks.folders import ATTACKS as FOLDERS
from attacks.manifests import ATTACKS as MANIFESTS
from attacks.tensors import ATTACKS as TENSORS

from polygraft.errors import StoreError

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
