"""Which grafts a plan means: by name, by version, and of the right sizes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.tiny import make_base, make_batch, make_trained_graft

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft
from polygraft.base.base import Base
from polygraft.errors import GraftError, PlanError
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.delta import Delta
from polygraft.parts.fusion import Fusion
from polygraft.parts.invertible import Invertible
from polygraft.parts.lora import Lora
from polygraft.parts.part import Part
from polygraft.store.manifest import BaseRecord, Manifest, PartRecord
from polygraft.store.store import Store


@pytest.fixture(scope="module")
def base() -> Base:
    return make_base("bert")


@pytest.fixture(scope="module")
def versions(base: Base) -> list[Graft]:
    """Three grafts that are versions 1 to 3 of one name."""
    made: list[Graft] = []
    for version in (1, 2, 3):
        graft = make_trained_graft(base, "ner", [Bottleneck(reduction=4)], seed=version)
        graft.manifest = Manifest(
            name="ner",
            version=version,
            parts=tuple(PartRecord(kind=part.kind, options=part.to_options()) for part in graft.parts),
            base=BaseRecord(name=base.name, fingerprint=base.fingerprint, revision=None),
            tokenizer=base.tokenizer_fingerprint,
            trained_under="ner",
            created="2026-01-31T12:00:00+00:00",
        )
        made.append(graft)
    return made


@pytest.fixture(scope="module")
def store(base: Base, versions: list[Graft], tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("versions"))
    for graft in versions:
        assert graft.manifest is not None
        store.put(dataclasses.replace(graft.manifest, version=0), graft.tensors())
    return store


def call(versions: list[Graft]) -> list[Graft]:
    """The same grafts by names of their own."""
    return [
        Graft(
            name=f"v{index}", parts=graft.parts, layers=graft.layers, base_fingerprint=graft.base_fingerprint
        )
        for index, graft in enumerate(versions, start=1)
    ]


@pytest.mark.parametrize("place", ["store", "memory"])
@pytest.mark.parametrize(
    "plan",
    [
        "average(ner@1, ner@2)",
        "average(ner@1, ner@3, weights=0.25:0.75, of=outputs)",
        "stack(ner@2, ner@1)",
        "fuse(ner@1, ner@2, by=mix)",
        "stack(ner@1, fuse(ner@2, ner@3, by=mix))",
    ],
)
@torch.no_grad()
def test_versions_of_one_name_are_different_grafts(
    base: Base, versions: list[Graft], store: Store, plan: str, place: str
):
    mix = make_trained_graft(base, "mix", [Fusion()])
    batch = make_batch()
    given = [mix] if place == "store" else [*versions, mix]
    with attach(base, plan, grafts=given, store=store if place == "store" else None) as attachment:
        found = attachment.run(*batch)
        assert str(attachment) == plan
    with attach(base, plan.replace("ner@", "v"), grafts=[*call(versions), mix]) as attachment:
        assert torch.equal(attachment.run(*batch), found)


@torch.no_grad()
def test_rows_may_go_through_versions_of_one_name(base: Base, versions: list[Graft], store: Store):
    batch = make_batch()
    with attach(base, "route(ner@1, ner, ner@3)", store=store) as attachment:
        hidden = attachment.run(*batch, rows=[0, 1, 2])
        # The latest is version 3, and there once.
        assert len(attachment.grafts) == 2
    for row, name in enumerate(("v1", "v3", "v3")):
        length = int(batch.attention_mask[row].sum())
        with attach(base, name, grafts=call(versions)) as attachment:
            alone = attachment.run(batch.input_ids[row : row + 1, :length], torch.ones(1, length).long())[0]
        assert (hidden[row, :length] - alone).abs().max() < 1e-5


@pytest.mark.parametrize("plan", ["average(ner, ner@3)", "stack(ner@3, ner)"])
def test_one_version_under_two_names_is_refused(base: Base, store: Store, plan: str):
    first, second = ("ner", "ner@3") if plan.startswith("average") else ("ner@3", "ner")
    with pytest.raises(PlanError) as refused:
        attach(base, plan, store=store)
    assert str(refused.value) == (
        f"The plan '{plan}' names '{first}' and '{second}', which are one graft. A graft acts once in a plan. Name "
        "another version, or leave one of them out."
    )


def test_of_two_versions_given_the_name_alone_means_neither(base: Base, versions: list[Graft]):
    with pytest.raises(PlanError) as refused:
        attach(base, "ner", grafts=versions)
    assert str(refused.value) == (
        "The plan 'ner' names 'ner', which is not among the grafts given. Did you mean 'ner@3'? There are ner@1, "
        "ner@2, ner@3. Give it in `grafts`, or name its store."
    )


def test_a_version_that_is_not_given_is_named(base: Base, versions: list[Graft]):
    with pytest.raises(PlanError) as refused:
        attach(base, "ner@7", grafts=versions[:1])
    assert str(refused.value) == (
        "The plan 'ner@7' names 'ner@7', which is not among the grafts given. Did you mean 'ner@1'? There are ner, "
        "ner@1. Give it in `grafts`, or name its store."
    )


@pytest.mark.parametrize(
    ("parts", "changes", "sentence"),
    [
        (
            [Bottleneck(reduction=2)],
            {"hidden_size": 24},
            "The tensor 'bottleneck.layers.0.ffn.down.weight' of the graft 'far' has the shape [12, 24] where [8, 16] "
            "was expected. The graft was made for a base of other sizes.",
        ),
        (
            [Invertible()],
            {"hidden_size": 24},
            "The tensor 'invertible.F.down.weight' of the graft 'far' has the shape [6, 12] where [4, 8] was expected. "
            "The graft was made for a base of other sizes.",
        ),
        (
            [Lora(rank=2, roles=("down",))],
            {"intermediate_size": 40},
            "The tensor 'lora.layers.0.down.A' of the graft 'far' has the shape [2, 40] where [2, 24] was expected. "
            "The graft was made for a base of other sizes.",
        ),
        (
            [Delta()],
            {"intermediate_size": 40},
            "The tensor 'delta.values' of the graft 'far' has the shape [6912] where [5376] was expected. The graft "
            "was made for a base of other sizes.",
        ),
    ],
)
@pytest.mark.parametrize("plan", ["far", "route(none, far)"])
@pytest.mark.parametrize("is_known", [True, False])
def test_tensors_of_other_sizes_are_refused_when_attached(
    base: Base, parts: list[Part], changes: dict[str, int], sentence: str, plan: str, is_known: bool
):
    graft = make_trained_graft(make_base("bert", **changes), "far", parts)
    if not is_known:
        graft.base_fingerprint = None
    with pytest.raises(GraftError) as refused:
        attach(base, plan, grafts=[graft], any_base=True)
    assert str(refused.value) == sentence
    assert base.in_force == []


def test_weights_that_the_base_does_not_have_are_refused_when_attached(base: Base):
    # As many values, of other weights.
    graft = make_trained_graft(make_base("distilbert"), "far", [Delta(weights=("*q_lin.weight",))])
    graft.parts = (Delta(weights=("*query.weight",)),)
    with pytest.raises(GraftError) as refused:
        attach(base, "route(none, far)", grafts=[graft], any_base=True)
    assert str(refused.value) == (
        "The graft 'far' changes the weight 'transformer.layer.0.attention.q_lin.weight' of the shape [16, 16], which "
        "the base 'tiny-bert' does not have. Load the base that the graft was made for."
    )
