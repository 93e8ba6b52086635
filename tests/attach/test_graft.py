"""Grafts made anew, filled with tensors, and rebuilt from what a store holds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tests.tiny import make_base, make_trained_graft

from polygraft.attach.graft import Graft, copy_tensors, make_graft, measure_base, rebuild_graft
from polygraft.base.base import Base
from polygraft.base.projections import list_projections
from polygraft.base.weights import list_weights
from polygraft.errors import FingerprintError, GraftError, OptionError
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.part import Dimensions
from polygraft.parts.presets import language_graft, task_graft
from polygraft.parts.table import PARTS
from polygraft.store.manifest import BaseRecord, Manifest, PartRecord

HEAD = Head(objective="tokens", labels=("O", "B-LOC"))
DOWN = "bottleneck.layers.0.ffn.down.weight"


@pytest.fixture(scope="module")
def base() -> Base:
    return make_base("electra-small")


def write_manifest(base: Base, graft: Graft) -> Manifest:
    return Manifest(
        name=graft.name,
        parts=tuple(PartRecord(kind=part.kind, options=part.to_options()) for part in graft.parts),
        base=BaseRecord(name=base.name, fingerprint=base.fingerprint, revision=None),
        tokenizer=base.tokenizer_fingerprint,
        created="2026-01-31T12:00:00+00:00",
    )


def test_a_graft_has_the_sizes_of_its_base(base: Base):
    assert measure_base(base) == Dimensions(
        num_layers=3,
        hidden=16,
        embedding=10,
        vocab=57,
        norm_eps=1e-12,
        weights=list_weights(base),
        projections=list_projections(base.sites),
    )
    graft = make_graft(base, "qu", [*language_graft(), HEAD])
    bottlenecks, couplings, head = 3 * (16 * 8 + 8 + 8 * 16 + 16), 2 * (5 * 2 + 2 + 2 * 5 + 5), 2 * 16 + 2
    assert graft.num_parameters == bottlenecks + couplings + head
    assert graft.labels == ("O", "B-LOC")
    assert graft.find_head() is graft.layers["head"]
    assert graft.find_invertible() is graft.layers["invertible"]


def test_a_seed_makes_the_same_graft_again(base: Base):
    first, second, other = (
        make_graft(base, "qu", language_graft(), seed=seed).tensors() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first[DOWN], other[DOWN])


def test_a_graft_without_head_has_no_labels(base: Base):
    graft = make_graft(base, "qu", language_graft(invertible=False))
    assert graft.labels == ()
    assert graft.find_head() is None
    assert graft.find_invertible() is None


def test_two_heads_in_one_graft_are_refused(base: Base):
    with pytest.raises(GraftError) as refusal:
        make_graft(base, "ner", [HEAD, HEAD])
    assert str(refusal.value) == (
        "The graft 'ner' has more than one head. Put the heads into grafts of their own."
    )


def test_a_missing_tensor_is_refused(base: Base):
    graft = make_graft(base, "qu", language_graft())
    tensors = graft.tensors()
    del tensors[DOWN]
    with pytest.raises(GraftError) as refusal:
        copy_tensors(graft, tensors)
    assert str(refusal.value) == (
        f"The graft 'qu' lacks the tensor '{DOWN}' (1 missing in all, of 20). All tensors of its parts were "
        "expected."
    )


def test_an_unknown_tensor_is_refused(base: Base):
    graft = make_graft(base, "qu", language_graft())
    with pytest.raises(GraftError) as refusal:
        copy_tensors(graft, {**graft.tensors(), DOWN + "s": torch.zeros(1)})
    assert str(refusal.value) == (
        f"The graft 'qu' has a tensor '{DOWN}s' that its parts do not know (1 such in all). Its parts have 20 tensors, "
        f"and no others were expected. Did you mean '{DOWN}'?"
    )


def test_a_tensor_of_another_shape_is_refused_and_nothing_is_copied(base: Base):
    graft = make_graft(base, "qu", language_graft())
    before = {name: tensor.clone() for name, tensor in graft.tensors().items()}
    tensors = {name: torch.ones_like(tensor) for name, tensor in before.items()}
    with pytest.raises(GraftError) as refusal:
        copy_tensors(graft, {**tensors, DOWN: torch.zeros(16, 8)})
    assert str(refusal.value) == (
        f"The tensor '{DOWN}' of the graft 'qu' has the shape [16, 8] where [8, 16] was expected. The graft was made "
        "for a base of other sizes."
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in graft.tensors().items())


def test_a_rebuilt_graft_is_what_was_stored(base: Base):
    graft = make_trained_graft(base, "ner", task_graft(labels=("O", "B-LOC"), reduction=4))
    rebuilt = rebuild_graft(base, write_manifest(base, graft), graft.tensors())
    assert rebuilt.parts == graft.parts
    assert all(torch.equal(tensor, graft.tensors()[name]) for name, tensor in rebuilt.tensors().items())
    assert not any(tensor.requires_grad for tensor in rebuilt.layers.parameters())


def test_a_graft_of_another_base_is_refused(base: Base):
    graft = make_graft(base, "ner", language_graft())
    manifest = dataclasses.replace(
        write_manifest(base, graft), base=BaseRecord(name="x", fingerprint="9f31c2aa55", revision=None)
    )
    with pytest.raises(FingerprintError) as refusal:
        rebuild_graft(base, manifest, graft.tensors())
    assert str(refusal.value) == (
        f"Graft 'ner' was trained on another base: it carries fingerprint 9f31c2aa, 'tiny-electra-small' has "
        f"{base.fingerprint[:8]}. Load the base it names (`polygraft grafts show ner`), or pass --any-base to try it "
        "all the same."
    )
    assert rebuild_graft(base, manifest, graft.tensors(), any_base=True).name == "ner"


def test_a_graft_of_another_tokenizer_is_refused(base: Base):
    graft = make_graft(base, "ner", language_graft())
    manifest = dataclasses.replace(write_manifest(base, graft), tokenizer="77ab0400ff")
    with pytest.raises(FingerprintError) as refusal:
        rebuild_graft(base, manifest, graft.tensors())
    assert str(refusal.value) == (
        f"Graft 'ner' was trained with another tokenizer: it carries fingerprint 77ab0400, the one of "
        f"'tiny-electra-small' has {base.tokenizer_fingerprint[:8]}. Load the base it names (`polygraft grafts show "
        "ner`), or pass --any-base to try it all the same."
    )


AGAIN = (
    "That was version 3 of the graft 'ner'. Train or import the graft again, or remove it with `polygraft "
    "grafts remove ner --version 3`."
)


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (
            PartRecord(kind="quantum", options={}),
            f"There is no part 'quantum'. Known are {', '.join(PARTS)}. Correct the name.",
        ),
        (
            PartRecord(kind="invertible", options={"reductoin": 2}),
            "The part 'invertible' has no option 'reductoin'. Its options are reduction, activation. "
            "Did you mean 'reduction'? Correct the name.",
        ),
        (
            PartRecord(kind="bottleneck", options={"reduction": 1e-8}),
            "The part 'bottleneck' has reduction=1e-08, which makes a width of more than 8 times what it "
            "reads. Expected a number from 0.125 to the size of what it reads. Choose a larger reduction.",
        ),
        (
            PartRecord(kind="bottleneck", options={"reduction": 2, "skip_layers": [0]}),
            "The graft 'ner' has a tensor 'bottleneck.layers.0.ffn.down.bias' that its parts do not know (12 such in "
            "all). Its parts have 8 tensors, and no others were expected. Did you mean "
            "'bottleneck.layers.2.ffn.down.bias'?",
        ),
    ],
)
def test_a_manifest_that_no_graft_can_be_made_of_is_named(base: Base, record: PartRecord, sentence: str):
    graft = make_graft(base, "ner", language_graft())
    manifest = dataclasses.replace(write_manifest(base, graft), parts=(record,), version=3)
    with pytest.raises((OptionError, GraftError)) as refusal:
        rebuild_graft(base, manifest, graft.tensors())
    assert str(refusal.value) == f"{sentence} {AGAIN}"


def test_a_graft_that_does_not_fit_another_base_names_its_own(base: Base):
    larger = make_base("electra-small", num_hidden_layers=4)
    graft = make_graft(larger, "ner", [Bottleneck(skip_layers=(3,))])
    manifest = dataclasses.replace(write_manifest(larger, graft), version=3)
    with pytest.raises(OptionError) as refusal:
        rebuild_graft(base, manifest, graft.tensors(), any_base=True)
    assert str(refusal.value) == (
        "The part 'bottleneck' has skip_layers with 3, and the base has 3 layers. Expected -3 to 2. Correct the "
        "number. That was version 3 of the graft 'ner', which was trained on another base, 'tiny-electra-small'. Load "
        "that one."
    )


def test_tensors_are_compared_before_any_part_takes_memory(base: Base, monkeypatch: pytest.MonkeyPatch):
    graft = make_graft(base, "ner", [Bottleneck(reduction=2)])
    wide = PartRecord(kind="bottleneck", options={"reduction": 0.125})
    manifest = dataclasses.replace(write_manifest(base, graft), parts=(wide,), version=3)
    given, made = graft.tensors(), []
    to_empty = torch.nn.Module.to_empty

    def watch(layer: torch.nn.Module, *, device: torch.device) -> torch.nn.Module:
        made.append(torch.device(device).type)
        return to_empty(layer, device=device)

    monkeypatch.setattr(torch.nn.Module, "to_empty", watch)
    with pytest.raises(GraftError) as refusal:
        rebuild_graft(base, manifest, given)
    assert set(made) == {"meta"}
    assert str(refusal.value) == (
        f"The tensor '{DOWN}' of the graft 'ner' has the shape [8, 16] where [128, 16] was expected. {AGAIN}"
    )


def test_the_folder_of_a_stored_graft_is_named(base: Base):
    graft = make_graft(base, "ner", language_graft())
    manifest = dataclasses.replace(write_manifest(base, graft), version=3)
    tensors = graft.tensors()
    del tensors[DOWN]
    folder = Path("some", "ner", "3")
    with pytest.raises(GraftError) as refusal:
        rebuild_graft(base, manifest, tensors, folder=folder)
    assert str(refusal.value) == (
        f"The graft 'ner' lacks the tensor '{DOWN}' (1 missing in all, of 20). All tensors of its parts were "
        "expected. That was version 3 of the graft 'ner', some/ner/3/graft.safetensors. Train or import the graft "
        "again, or remove it with `polygraft grafts remove ner --version 3 --store some`."
    )
    with pytest.raises(FingerprintError) as other:
        rebuild_graft(
            base, dataclasses.replace(manifest, tokenizer="77ab0400ff"), graft.tensors(), folder=folder
        )
    assert str(other.value) == (
        "Graft 'ner' (some/ner/3/graft.json) was trained with another tokenizer: it carries fingerprint 77ab0400, the "
        f"one of 'tiny-electra-small' has {base.tokenizer_fingerprint[:8]}. Load the base it names (`polygraft grafts "
        "show ner --version 3 --store some`), or pass --any-base to try it all the same."
    )
