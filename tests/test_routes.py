"""The law of routed batches: row i of a batch whose rows go different ways equals row i alone."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.test_laws import GRAFTS
from tests.tiny import BASES, make_base, make_batch, make_trained_graft
from torch import Tensor

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft
from polygraft.attach.plan import Plan, Route, stack_names
from polygraft.base.base import Base
from polygraft.errors import GraftError
from polygraft.parts.head import Head

TOLERANCE = 1e-6
"""In float32, of the largest value, for weights of the usual size; the tiny bases' own are 15 times as large."""
MADE: dict[str, tuple[Base, list[Graft]]] = {}


def make_all(family: str) -> tuple[Base, list[Graft]]:
    """A tiny base with a graft of every kind that it can have, made once."""
    if family not in MADE:
        base = make_base(family, initializer_range=0.02)
        grafts: list[Graft] = []
        for seed, (kind, parts) in enumerate(GRAFTS.items()):
            graft = make_trained_graft(base, kind, parts, seed=seed)
            try:
                attach(base, kind, grafts=[graft]).remove()
            except GraftError:
                continue
            grafts.append(graft)
        MADE[family] = (base, grafts)
    return MADE[family]


def draw_way(chance: random.Random, grafts: Sequence[Graft]) -> Plan | None:
    """A stack of grafts with one head of a kind at most; now and then nothing."""
    names: list[str] = []
    heads: set[str] = set()
    for graft in chance.sample(list(grafts), k=chance.randint(0, 3)):
        own = {
            "pieces" if part.objective in {"mlm", "causal"} else "labels"
            for part in graft.parts
            if isinstance(part, Head)
        }
        if not own & heads:
            heads |= own
            names.append(graft.name)
    return stack_names(names) if names else None


def run_alone(base: Base, way: Plan | None, grafts: Sequence[Graft], ids: Tensor, mask: Tensor) -> Tensor:
    with attach(base, way, grafts=grafts) as attachment:
        return attachment.run(ids, mask)


@settings(max_examples=150, deadline=None)
@given(family=st.sampled_from(list(BASES)), seed=st.integers(0, 10_000))
@torch.no_grad()
def test_row_i_of_a_routed_batch_equals_row_i_alone(family: str, seed: int):
    chance = random.Random(seed)
    base, grafts = make_all(family)
    ways = [draw_way(chance, grafts) for _ in range(chance.randint(1, 5))]
    batch = make_batch(lengths=[chance.randint(2, 9) for _ in range(chance.randint(1, 7))], seed=seed)
    rows = [chance.randrange(len(ways)) for _ in batch.input_ids]
    with attach(base, Route(tuple(ways)), grafts=grafts) as attachment:
        hidden = attachment.run(*batch, rows=rows)
    for index, owner in enumerate(rows):
        length = int(batch.attention_mask[index].sum())
        expected = run_alone(
            base,
            ways[owner],
            grafts,
            batch.input_ids[index : index + 1, :length],
            torch.ones(1, length).long(),
        )[0]
        limit = TOLERANCE * max(1.0, expected.abs().max().item())
        assert (hidden[index, :length] - expected).abs().max() <= limit, (family, str(ways[owner]))


@pytest.mark.parametrize("family", BASES)
@torch.no_grad()
def test_places_alone_equal_those_of_all(family: str):
    chance = random.Random(1)
    base, grafts = make_all(family)
    ways = [draw_way(chance, grafts) for _ in range(4)]
    batch = make_batch(lengths=(7, 9, 3, 5, 8), seed=2)
    rows = [2, 0, 3, 2, 1]
    at = torch.tensor([0, 6, 9, 17, 18, 36, 40])
    with attach(base, Route(tuple(ways)), grafts=grafts) as attachment:
        for layer in (-1, 2):
            hidden = attachment.run(*batch, rows=rows, layer=layer).flatten(0, 1)[at]
            narrow = attachment.run(*batch, rows=rows, layer=layer, at=at)
            assert (hidden - narrow).abs().max() <= TOLERANCE * max(1.0, hidden.abs().max().item())
