"""Merged grafts in a store: what the manifest says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.tiny import make_base, make_trained_graft
from tests.weights import put

from polygraft.attach.merging import Merging
from polygraft.base.base import Base
from polygraft.errors import FingerprintError, StoreError
from polygraft.parts.presets import language_graft
from polygraft.recipe.merge import merge_stored
from polygraft.store.manifest import DataRecord, Manifest
from polygraft.store.store import Store

NEWS, BIBLE = (DataRecord(name=name, sha256=name[0] * 64, num_examples=3) for name in ("news", "bible"))


def fill(folder: Path, base: Base, *, objectives: tuple[str, str] = ("mlm", "mlm")) -> Store:
    """A store with the language grafts `a` and `b`."""
    store = Store(folder)
    for seed, (name, objective) in enumerate(zip("ab", objectives, strict=True)):
        graft = make_trained_graft(base, name, language_graft(), seed=seed)
        made = put(store, base, graft)
        data = (NEWS,) if name == "a" else (NEWS, BIBLE)
        store.put(replace(made, objective=objective, data=data, scores={"dev": 0.5}), graft.tensors())
    return store


def merge(store: Store, base: Base, name: str = "ab", merging: Merging | None = None) -> Manifest:
    stored = [store.get(each) for each in "ab"]
    return merge_stored(base, stored, name=name, merging=merging or Merging(), store=store)


def test_a_manifest_tells_members_data_and_what_all_have_in_common(tmp_path: Path):
    base = make_base()
    store = fill(tmp_path, base)
    made = merge(store, base, merging=Merging(how="ties", density=0.3, drop=0.1, seed=4))
    assert [(each.name, each.version) for each in made.members] == [("a", 2), ("b", 2)]
    assert [each.sha256 for each in made.members] == [store.manifest(name).sha256 for name in "ab"]
    assert (made.objective, made.data, made.scores, made.trained_under) == ("mlm", (NEWS, BIBLE), {}, None)
    assert made.hyperparameters == {
        "how": "ties",
        "weights": [1.0, 1.0],
        "density": 0.3,
        "drop": 0.1,
        "seed": 4,
        "scale": 1.0,
    }
    assert store.verify("ab") == made


def test_two_objectives_are_none(tmp_path: Path):
    base = make_base()
    assert merge(fill(tmp_path, base, objectives=("mlm", "tokens")), base).objective is None


def test_a_member_may_be_replaced_under_its_own_name(tmp_path: Path):
    base = make_base()
    store = fill(tmp_path, base)
    assert (merge(store, base, "a").version, merge(store, base, "a").version) == (3, 4)
    assert [each.version for each in store.manifest("a").members] == [3, 2]


def refuse(store: Store, base: Base) -> str:
    with pytest.raises(FingerprintError) as caught:
        merge(store, base)
    return str(caught.value)


def test_another_tokenizer_is_refused(tmp_path: Path):
    base = make_base()
    store = fill(tmp_path, base)
    manifest, tensors = store.get("b")
    store.put(replace(manifest, tokenizer="0f" * 16), tensors)
    assert refuse(store, base) == (
        f"Grafts 'a@2' and 'b@3' were trained with two tokenizers, with the fingerprints "
        f"{base.tokenizer_fingerprint[:8]} and 0f0f0f0f. Expected one, since they have read other pieces. Name grafts "
        "of one tokenizer."
    )


def test_another_base_than_that_of_the_grafts_is_refused(tmp_path: Path):
    base, other = make_base(), make_base(seed=3)
    pieces = base.tokenizer_fingerprint[:8]
    assert refuse(fill(tmp_path, base), other) == (
        f"Graft 'a@2' was trained on the base 'tiny-bert', whose fingerprints (base and tokenizer) are "
        f"{base.fingerprint[:8]}/{pieces}, and 'tiny-bert' has {other.fingerprint[:8]}/{pieces}. Expected the base of "
        "the grafts. Name it with --base."
    )


def test_a_store_that_refuses_is_left_as_it_was(tmp_path: Path):
    base = make_base()
    store = fill(tmp_path, base)
    with pytest.raises(StoreError):
        merge(store, base, "not a name")
    assert store.names() == ["a", "b"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["a", "b"]


def test_a_merge_that_is_killed_before_the_end_leaves_no_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    base = make_base()
    store = fill(tmp_path, base)
    rename: Callable[..., Path] = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if target.parent.name == "ab":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(KeyboardInterrupt):
        merge(store, base)
    monkeypatch.undo()
    made = merge(store, base)
    assert (made.version, store.versions("ab")) == (1, [1])
    assert all(torch.isfinite(tensor).all() for tensor in store.get("ab")[1].values())
