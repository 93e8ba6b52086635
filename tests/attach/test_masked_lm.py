"""The masked-LM loss against all scores at all positions."""

from __future__ import annotations

import pytest
import torch
from tests.reference import bare_copy, compute_hidden, compute_logits
from tests.tiny import VOCAB, make_base, make_batch, make_model, make_trained_graft

from polygraft.attach import cross_entropy
from polygraft.attach.attach import attach
from polygraft.attach.masked_lm import Decoder, sum_masked_lm_loss
from polygraft.data.masking import MaskedBatch
from polygraft.errors import DataError
from polygraft.parts.head import Head
from polygraft.parts.presets import language_graft

POSITIONS = torch.tensor([1, 4, 10, 12])
TARGETS = torch.tensor([7, 7, 30, 55])


def make_masked() -> MaskedBatch:
    batch = make_batch()
    ids = batch.input_ids.clone()
    ids.view(-1)[POSITIONS] = 4
    return MaskedBatch(
        input_ids=ids, attention_mask=batch.attention_mask, positions=POSITIONS, targets=TARGETS
    )


@pytest.mark.parametrize("cells", [10_000, 3 * VOCAB, 1])
@pytest.mark.parametrize("name", ["bert", "electra-small", "modernbert", "eurobert"])
def test_the_loss_over_all_pieces_is_exact(name: str, cells: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cross_entropy, "CELLS_PER_CHUNK", cells)
    base, whole, batch = make_base(name), bare_copy(make_model(name)), make_masked()
    graft = make_trained_graft(base, "qu", language_graft())
    with attach(base, "qu", grafts=[graft]) as attachment:
        loss = sum_masked_lm_loss(attachment, batch, Decoder(attachment, None))
    hidden = compute_hidden(whole.base_model, [graft], batch.input_ids, batch.attention_mask)
    scores = compute_logits(whole, [graft], hidden).flatten(0, 1)[POSITIONS]
    expected = (scores.logsumexp(1) - scores[torch.arange(4), TARGETS]).sum()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-4)


def test_a_vocabulary_with_every_piece_gives_the_same_loss_and_gradient():
    base, batch = make_base("bert"), make_masked()
    graft = make_trained_graft(base, "qu", [*language_graft(), Head(objective="mlm", layer=2)])
    gradients = []
    for vocabulary in (None, torch.arange(VOCAB)):
        graft.layers.zero_grad()
        with attach(base, "qu", grafts=[graft]) as attachment:
            loss = sum_masked_lm_loss(attachment, batch, Decoder(attachment, vocabulary))
            loss.backward()
        gradients.append(
            (loss.detach(), graft.layers["head"].bias.grad, graft.layers["invertible"].F.up.weight.grad)
        )
    assert all((full - part).abs().max() < 1e-4 for full, part in zip(*gradients, strict=True))
    assert gradients[0][2].abs().max() > 0.01


def test_a_smaller_vocabulary_scores_its_own_pieces_only():
    base, batch = make_base("bert"), make_masked()
    vocabulary = torch.tensor([4, 7, 30, 55])
    with torch.no_grad(), attach(base, None) as attachment:
        loss = sum_masked_lm_loss(attachment, batch, Decoder(attachment, vocabulary))
        hidden = attachment.run(batch.input_ids, batch.attention_mask)
        x, weight, bias = attachment.prepare_decoding(hidden.flatten(0, 1)[POSITIONS])
    scores = (x @ weight.T + bias)[:, vocabulary]
    expected = (scores.logsumexp(1) - scores[torch.arange(4), [1, 1, 2, 3]]).sum()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-4)


def test_a_target_outside_the_vocabulary_is_refused():
    base, batch = make_base("bert"), make_masked()
    with torch.no_grad(), attach(base, None) as attachment, pytest.raises(DataError) as refusal:
        sum_masked_lm_loss(attachment, batch, Decoder(attachment, torch.tensor([4, 7, 55])))
    assert str(refusal.value) == (
        "The piece 30 is to be guessed, and the vocabulary of 3 pieces that is scored does not have it. Score all "
        "pieces instead (vocabulary = 'full')."
    )
