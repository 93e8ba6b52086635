"""Pieces that are guessed in rows that go different ways: each by its row's own head, inverse and weights."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import DECODERS, TIED, TinyBatch, make_base, make_batch, make_trained_graft
from torch import Tensor
from torch.nn import functional

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft
from polygraft.base.base import Base
from polygraft.errors import OptionError, PlanError
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.delta import Delta
from polygraft.parts.head import Head
from polygraft.parts.invertible import Invertible
from polygraft.parts.prompt import Prompt

WAYS = ("stack(mlm, qu)", "en", "none", "stack(high, edit)", "prompt")
ROWS = [3, 0, 4, 1, 0, 2]
AT = torch.tensor([1, 8, 20, 9, 0, 27, 36, 45, 47, 19])


def make_grafts(base: Base) -> dict[str, Graft]:
    objective = base.guesses
    made = {
        "qu": [Bottleneck(reduction=2), Invertible()],
        "en": [Bottleneck(reduction=4), Invertible()],
        "mlm": [Head(objective=objective, layer=2)],
        "high": [Head(objective=objective)],
        # The decoder is the word embeddings, which this changes.
        "edit": [Delta(weights=("embedding",))],
        "prompt": [Prompt(length=2)],
    }
    return {
        name: make_trained_graft(base, name, parts, seed=seed)
        for seed, (name, parts) in enumerate(made.items())
    }


def score_alone(base: Base, grafts: dict[str, Graft], batch: TinyBatch, row: int, column: int) -> Tensor:
    length = int(batch.attention_mask[row].sum())
    with attach(base, WAYS[ROWS[row]], grafts=grafts) as attachment:
        _, layer = attachment.find_piece_head()
        ids = batch.input_ids[row : row + 1, :length]
        hidden = attachment.run(ids, torch.ones_like(ids), layer=layer)[0, column : column + 1]
        x, weight, bias = attachment.prepare_decoding(hidden)
        return (x @ weight.T + (0 if bias is None else bias))[0]


@pytest.mark.parametrize("family", ["bert", "electra-small", "deberta-v2", "eurobert", "gpt2", "llama"])
@torch.no_grad()
def test_each_row_guesses_by_its_own_head_inverse_and_weights(family: str):
    assert {"gpt2", "llama"} <= set(DECODERS) and "eurobert" not in TIED
    base = make_base(family)
    grafts, batch = make_grafts(base), make_batch(lengths=(9, 9, 5, 9, 7, 9))
    with attach(base, f"route({', '.join(WAYS)})", grafts=grafts) as attachment:
        scores = attachment.score_pieces(*batch, at=AT, rows=ROWS)
    for found, place in zip(scores, AT.tolist(), strict=True):
        alone = score_alone(base, grafts, batch, place // 9, place % 9)
        assert (found - alone).abs().max() <= 1e-5 * max(1.0, alone.abs().max().item()), place
    assert base.compute_fingerprint() == base.fingerprint


@torch.no_grad()
def test_one_way_needs_no_rows_and_places_may_be_none():
    base = make_base("bert")
    grafts, batch = make_grafts(base), make_batch()
    with attach(base, WAYS[0], grafts=grafts) as attachment:
        scores = attachment.score_pieces(*batch, at=torch.tensor([3, 1]))
        x, weight, bias = attachment.prepare_decoding(attachment.run(*batch, layer=2)[0, [3, 1]])
        assert torch.allclose(scores, x @ weight.T + bias, atol=1e-5)
        assert attachment.score_pieces(*batch, at=AT[:0]).shape == (0, base.sites.vocab)


def test_guesses_of_routed_rows_train_their_own_grafts_as_alone():
    base = make_base("bert")
    grafts, batch = make_grafts(base), make_batch(lengths=(9, 9))
    targets = torch.tensor([7, 9])
    with attach(base, "route(stack(high, qu), en)", grafts=grafts) as attachment:
        scores = attachment.score_pieces(*batch, at=torch.tensor([2, 12]), rows=[0, 1])
        functional.cross_entropy(scores, targets, reduction="sum").backward()
    names = ("qu", "en", "high")
    routed = {name: [value.grad.clone() for value in grafts[name].layers.parameters()] for name in names}
    for name in names:
        grafts[name].layers.zero_grad()
    for row, (way, place) in enumerate((("stack(high, qu)", 2), ("en", 3))):
        with attach(base, way, grafts=grafts) as attachment:
            own = TinyBatch(batch.input_ids[row : row + 1], batch.attention_mask[row : row + 1])
            scores = attachment.score_pieces(*own, at=torch.tensor([place]))
            functional.cross_entropy(scores, targets[row : row + 1]).backward()
    for name in names:
        for value, own in zip(grafts[name].layers.parameters(), routed[name], strict=True):
            assert torch.allclose(value.grad, own, atol=1e-5 * max(1.0, own.abs().max().item()))


def test_what_cannot_be_guessed_is_refused():
    base = make_base("bert", with_head=False)
    grafts, batch = make_grafts(base), make_batch()
    with attach(base, "route(mlm, qu)", grafts=grafts) as attachment:
        with pytest.raises(PlanError) as headless:
            attachment.score_pieces(*batch, at=AT[:2], rows=[0, 1, 0])
        with pytest.raises(OptionError) as short:
            attachment.score_pieces(*batch, at=AT[:2], rows=[0])
        with pytest.raises(OptionError) as unknown:
            attachment.score_rows(*batch, rows=[0, 2, 0])
    assert str(headless.value) == (
        "The plan 'qu' has no masked-LM head, and the base 'tiny-bert' brings none. Expected a graft with one below "
        "the language graft, as in stack(mlm, qu). Train one first."
    )
    expected = "Expected a number from 0 to 1 for each row. Correct `rows`."
    assert str(short.value) == f"A batch of 3 rows came with the members [0] of a plan that has 2. {expected}"
    assert (
        str(unknown.value)
        == f"A batch of 3 rows came with the members [0, 2, 0] of a plan that has 2. {expected}"
    )
