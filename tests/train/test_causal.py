"""The causal objective against plain cross entropy over all scores, row by row and without padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.tiny import DECODERS, VOCAB, make_base, make_trained_graft
from tests.train.material import encode_lines, make_training
from torch import Tensor
from torch.nn import functional

from polygraft.attach import cross_entropy
from polygraft.attach.attach import Attachment, attach
from polygraft.attach.graft import Graft
from polygraft.base.base import Base
from polygraft.data.encode import EncodedText
from polygraft.data.masking import corpus_vocabulary
from polygraft.errors import BaseModelError, DataError
from polygraft.parts.head import Head
from polygraft.parts.part import Part
from polygraft.parts.presets import language_graft
from polygraft.train.causal import CausalLm

ROWS = np.array([3, 0, 17, 21])


def make_graft(base: Base, *, head: bool) -> Graft:
    parts: list[Part] = [*language_graft()]
    return make_trained_graft(base, "qu", [*parts, Head(objective="causal")] if head else parts)


def make_causal_lm(base: Base, *, full: bool = False, negatives: int = 0) -> CausalLm:
    text = encode_lines(base)
    vocabulary = None if full else corpus_vocabulary(text, special_ids=base.special_ids)
    return CausalLm(text, vocabulary=vocabulary, num_negatives=negatives)


def compute_plainly(attachment: Attachment, objective: CausalLm) -> tuple[Tensor, int]:
    """Score every piece of each row by itself, and sum the loss of those behind the first."""
    text, losses = objective.text, []
    for row in ROWS:
        ids = torch.from_numpy(text.ids[text.starts[row] : text.starts[row + 1]]).long()
        hidden = attachment.run(ids[None], torch.ones_like(ids)[None])[0]
        x, weight, bias = attachment.prepare_decoding(hidden)
        scores = x @ weight.T if bias is None else x @ weight.T + bias
        if objective.vocabulary is not None:
            kept = torch.zeros(VOCAB, dtype=torch.bool).index_fill(0, objective.vocabulary, value=True)
            scores = scores.masked_fill(~kept, -torch.inf)
        losses.append(functional.cross_entropy(scores[:-1], ids[1:], reduction="none"))
    all_losses = torch.cat(losses)
    return all_losses.mean(), len(all_losses)


def differentiate(graft: Graft, loss: Tensor) -> dict[str, Tensor]:
    names = list(dict(graft.layers.named_parameters()))
    return dict(zip(names, torch.autograd.grad(loss, list(graft.layers.parameters())), strict=True))


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("name", DECODERS)
def test_loss_and_every_gradient_are_those_of_plain_cross_entropy(
    name: str, head: bool, full: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cross_entropy, "CELLS_PER_CHUNK", 3 * VOCAB)
    base = make_base(name)
    graft, objective = make_graft(base, head=head), make_causal_lm(base, full=full)
    with attach(base, "qu", grafts=[graft]) as attachment:
        loss = objective.compute_loss(attachment, ROWS, seed=2, step=7)
        plain, num_targets = compute_plainly(attachment, objective)
    assert loss.num_targets == num_targets == loss.num_tokens - len(ROWS)
    assert float(loss.mean.detach()) == pytest.approx(float(plain.detach()), rel=1e-5)
    expected = differentiate(graft, plain)
    for value_name, gradient in differentiate(graft, loss.mean).items():
        size = max(1.0, float(expected[value_name].abs().max()))
        assert (gradient - expected[value_name]).abs().max() < 1e-5 * size, value_name
        assert gradient.abs().max() > 1e-6, value_name


@pytest.mark.parametrize("name", DECODERS)
def test_the_loss_is_that_of_transformers(name: str):
    from tests.tiny import make_model

    base, whole = make_base(name), make_model(name)
    text = encode_lines(base, 1)
    ids = torch.from_numpy(text.ids).long()[None]
    with torch.no_grad(), attach(base, None) as attachment:
        loss = CausalLm(text, vocabulary=None).compute_loss(attachment, np.array([0]), seed=0, step=0)
        expected = whole(input_ids=ids, labels=ids).loss
    assert float(loss.mean) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_with_negatives_drawn_from_all_others_the_loss_is_exact(name: str):
    base = make_base(name)
    graft = make_graft(base, head=False)
    with torch.no_grad(), attach(base, "qu", grafts=[graft]) as attachment:
        losses = [
            float(make_causal_lm(base, **options).compute_loss(attachment, ROWS, seed=2, step=7).mean)
            for options in ({"negatives": VOCAB}, {"full": True})
        ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_loss_falls_in_training():
    base = make_base("llama")
    objective = make_causal_lm(base)
    graft = make_graft(base, head=False)
    training = make_training("causal", base=base, graft=graft, objective=objective, steps=40)
    losses = [step.loss for step in training.run()]
    # The words of the text are drawn by chance, so that little more can be learned than which there are.
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3


def test_rows_of_one_token_are_left_out():
    ids, starts = np.array([5, 6, 7, 8], dtype=np.int32), np.array([0, 1, 3, 4])
    objective = CausalLm(EncodedText(ids=ids, starts=starts), vocabulary=None)
    assert objective.text.ids.tolist() == [6, 7]
    with pytest.raises(DataError) as refusal:
        CausalLm(EncodedText(ids=ids, starts=np.arange(5)), vocabulary=None)
    assert str(refusal.value) == (
        "All 4 rows of the text have one token, so that no next one can be guessed. Expected rows of two tokens or "
        "more. Give longer lines."
    )


def test_a_base_that_sees_whole_rows_is_refused():
    base = make_base("bert")
    with attach(base, None) as attachment, pytest.raises(BaseModelError) as refusal:
        make_causal_lm(base).compute_loss(attachment, ROWS, seed=2, step=7)
    assert str(refusal.value) == (
        "The base 'tiny-bert' sees whole rows, and the objective causal asks for the next piece, which it would see. "
        "Expected masked language modelling, which hides what is asked for. Take `polygraft train mlm`, or a base "
        "that reads from left to right, such as GPT-2."
    )
