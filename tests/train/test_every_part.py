"""Grafts of every kind learn a small task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from tests.tiny import make_base
from tests.train.material import LABELS, make_training, run

from polygraft.attach.graft import make_graft
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.compacter import Compacter
from polygraft.parts.head import Head
from polygraft.parts.part import Part
from polygraft.parts.prefix import Prefix
from polygraft.parts.presets import mam_graft
from polygraft.parts.prompt import Prompt

HEAD = Head(objective="tokens", labels=LABELS)
GRAFTS: Mapping[str, Sequence[Part]] = {
    "prefix": [Prefix(length=4, reparameterization=8), HEAD],
    "prefix-values": [Prefix(length=4, reparameterization=None), HEAD],
    "prompt": [Prompt(length=4), HEAD],
    "compacter": [Compacter(reduction=4, terms=2), HEAD],
    "learned-scale": [Bottleneck(placement="parallel", scaling="learned"), HEAD],
    "mam": mam_graft(labels=LABELS, length=4, reduction=2),
}


@pytest.mark.parametrize("kind", GRAFTS)
def test_the_loss_falls_and_every_value_moves(kind: str):
    base = make_base("xlm-roberta")
    graft = make_graft(base, "new", GRAFTS[kind])
    before = {name: value.clone() for name, value in graft.tensors().items()}
    losses = [step.loss for step in run(make_training(base=base, graft=graft, steps=30, lr=0.02))]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert [name for name, value in graft.tensors().items() if value.equal(before[name])] == []
    assert base.compute_fingerprint() == base.fingerprint
