"""Rows that go different ways in one batch: each graft gets the gradient that its rows would give alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pytest
import torch
from tests.tiny import TIED, make_base, make_batch, make_trained_graft
from torch import Tensor
from torch.nn import functional

from polygraft.attach.attach import Attachment, attach
from polygraft.attach.graft import Graft
from polygraft.base.base import Base
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.ia3 import IA3
from polygraft.parts.invertible import Invertible
from polygraft.parts.lora import Lora
from polygraft.parts.part import Part

TOLERANCE = 1e-10
"""Of the largest gradient of a tensor, in float64: sums come in another order."""
PARTS: Mapping[str, Sequence[Part]] = {
    "bottleneck": [Bottleneck(reduction=2)],
    "lora": [Lora(rank=2, roles=("query", "value"))],
    "ia3": [IA3()],
    # A smooth activation: on small embeddings all units of a random relu may be off.
    "invertible": [
        Invertible(activation="tanh"),
        Bottleneck(reduction=4, placement="parallel", activation="tanh"),
    ],
}
LENGTHS = (7, 9, 3, 5, 8)
ROWS = (1, 0, 2, 1, 0)
"""The way of each row."""
WAYS = ("stack(a, ner)", "stack(b, topic)", "ner")


def make_all(parts: Sequence[Part], family: str) -> tuple[Base, list[Graft]]:
    """A base in float64 with two grafts of some parts and two heads."""
    base = make_base(family, initializer_range=0.02)
    base.model.double()
    heads = {
        "ner": Head(objective="tokens", labels=("O", "B-LOC", "I-LOC")),
        "topic": Head(objective="sequence", labels=("good", "bad"), layer=2),
    }
    kinds: dict[str, Sequence[Part]] = {"a": parts, "b": parts, **{name: [heads[name]] for name in heads}}
    grafts = [
        make_trained_graft(base, name, own, seed=seed) for seed, (name, own) in enumerate(kinds.items())
    ]
    for graft in grafts:
        graft.layers.double().requires_grad_(True)
    return base, grafts


def take_gradients(grafts: Sequence[Graft]) -> dict[str, Tensor]:
    """The gradients that came, which are then gone."""
    found: dict[str, Tensor] = {}
    for graft in grafts:
        for name, value in graft.layers.named_parameters():
            if value.grad is not None:
                found[f"{graft.name} {name}"] = value.grad
            value.grad = None
    return found


def check_equal(routed: Mapping[str, Tensor], alone: Mapping[str, Tensor]) -> None:
    assert routed.keys() == alone.keys()
    for name, expected in alone.items():
        assert expected.abs().max() > 0, name
        assert (routed[name] - expected).abs().max() <= TOLERANCE * expected.abs().max(), name


def sum_loss(scores: Tensor) -> Tensor:
    """Cross entropy of a row's scores against labels that depend on the places alone."""
    rows = scores.reshape(-1, scores.shape[-1])
    return functional.cross_entropy(rows, torch.arange(len(rows)) % rows.shape[1], reduction="sum")


def add_routed(base: Base, grafts: Sequence[Graft]) -> None:
    """Add the gradients of all rows in one batch."""
    with attach(base, f"route({', '.join(WAYS)})", grafts=grafts) as attachment:
        scores = attachment.score_rows(*make_batch(lengths=LENGTHS), rows=ROWS)
        # Padding has no label.
        cut = [row[:length] if row.dim() == 2 else row for row, length in zip(scores, LENGTHS, strict=True)]
        torch.stack([sum_loss(row) for row in cut]).sum().backward()


def add_one_by_one(base: Base, grafts: Sequence[Graft]) -> None:
    """Add the gradients of each row alone, without padding."""
    batch = make_batch(lengths=LENGTHS)
    for row, (length, way) in enumerate(zip(LENGTHS, ROWS, strict=True)):
        with attach(base, WAYS[way], grafts=grafts) as attachment:
            ids = batch.input_ids[row : row + 1, :length]
            sum_loss(attachment.score(ids, torch.ones_like(ids))[0]).backward()


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("family", ["bert", "deberta-v2", "modernbert", "gpt2"])
def test_each_graft_gets_the_gradient_of_its_rows(family: str, kind: str):
    base, grafts = make_all(PARTS[kind], family)
    add_routed(base, grafts)
    routed = take_gradients(grafts)
    add_one_by_one(base, grafts)
    check_equal(routed, take_gradients(grafts))


def guess(attachment: Attachment, ids: Tensor, mask: Tensor, rows: Sequence[int] | None) -> Tensor:
    """The loss of guessing some pieces, with the head and the inverse of each row's own way."""
    owners = [0] * len(ids) if rows is None else rows
    at = torch.tensor([row * ids.shape[1] + column for row in range(len(ids)) for column in (1, 2)])
    hidden = attachment.run(ids, mask, at=at, rows=rows)
    losses: list[Tensor] = []
    for number, member in enumerate(attachment.members):
        own = torch.tensor([owners[place // ids.shape[1]] == number for place in at.tolist()])
        if own.any():
            x, weight, bias = member.prepare_decoding(hidden[own])
            scores = functional.linear(x, weight, bias)
            losses.append(functional.cross_entropy(scores, ids.flatten()[at[own]], reduction="sum"))
    return torch.stack(losses).sum()


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "gpt2"])
def test_each_language_gets_the_gradient_of_its_rows_with_its_own_inverse(family: str, kind: str):
    assert family in TIED
    base, grafts = make_all(PARTS[kind], family)
    assert base.head is not None
    base.head.double()
    batch = make_batch(lengths=LENGTHS)
    rows = (1, 0, 0, 1, 0)
    with attach(base, "route(a, b)", grafts=grafts) as attachment:
        guess(attachment, *batch, rows).backward()
    routed = take_gradients(grafts)
    for row, (length, way) in enumerate(zip(LENGTHS, rows, strict=True)):
        with attach(base, "ab"[way], grafts=grafts) as attachment:
            ids = batch.input_ids[row : row + 1, :length]
            guess(attachment, ids, torch.ones_like(ids), None).backward()
    check_equal(routed, take_gradients(grafts))


def update_once(*, is_routed: bool) -> dict[str, Tensor]:
    """Make one step of AdamW over all grafts, for the rows together or one by one; gives all values after it."""
    base, grafts = make_all([part for parts in PARTS.values() for part in parts], "bert")
    optimiser = torch.optim.AdamW([value for graft in grafts for value in graft.layers.parameters()], lr=0.01)
    before, fingerprint = list_values(grafts), base.compute_fingerprint()
    if is_routed:
        add_routed(base, grafts)
    else:
        add_one_by_one(base, grafts)
    optimiser.step()
    assert base.compute_fingerprint() == fingerprint
    after = list_values(grafts)
    still = [name for name, value in before.items() if value.equal(after[name])]
    # The head for sequences, under which only `b` stands, reads below the last layer.
    assert still and all(name.startswith("b ") and re.search(r"\b2\b", name) for name in still), still
    return after


def list_values(grafts: Sequence[Graft]) -> dict[str, Tensor]:
    return {
        f"{graft.name} {name}": value.clone() for graft in grafts for name, value in graft.tensors().items()
    }


def test_one_step_over_a_mixed_batch_moves_each_graft_as_its_rows_alone_would():
    routed, alone = update_once(is_routed=True), update_once(is_routed=False)
    for name, expected in alone.items():
        assert (routed[name] - expected).abs().max() <= TOLERANCE * expected.abs().max(), name
