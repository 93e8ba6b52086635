"""The masked-LM objective against plain cross entropy over all scores at all positions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.tiny import VOCAB, make_base, make_trained_graft
from tests.train.material import encode_lines, make_masked_lm
from torch import Tensor
from torch.nn import functional

from polygraft.attach import cross_entropy
from polygraft.attach.attach import Attachment, attach
from polygraft.attach.graft import Graft
from polygraft.base.base import Base
from polygraft.data.collate import collate
from polygraft.data.masking import Masking, mask_batch
from polygraft.errors import DataError
from polygraft.parts.head import Head
from polygraft.parts.part import Part
from polygraft.parts.presets import language_graft
from polygraft.train.mlm import MaskedLm

ROWS = np.array([3, 0, 17, 21])


def make_graft(base: Base, *, head: bool) -> Graft:
    parts: list[Part] = [*language_graft()]
    return make_trained_graft(base, "qu", [*parts, Head(objective="mlm")] if head else parts)


def compute_plainly(attachment: Attachment, objective: MaskedLm, *, seed: int, step: int) -> Tensor:
    """Score every piece at every position, then look at the hidden ones."""
    base = attachment.base
    batch = collate(objective.text, ROWS, pad_id=base.pad_id)
    masked = mask_batch(
        batch,
        masking=objective.masking,
        seed=seed,
        step=step,
        mask_id=base.mask_id,
        special_ids=base.special_ids,
        vocabulary=objective.vocabulary,
    )
    hidden = attachment.run(masked.input_ids, masked.attention_mask)
    x, weight, bias = attachment.prepare_decoding(hidden.flatten(0, 1))
    scores = x @ weight.T if bias is None else x @ weight.T + bias
    if objective.vocabulary is not None:
        outside = torch.ones(scores.shape[1], dtype=torch.bool).index_fill(
            0, objective.vocabulary, value=False
        )
        scores = scores.masked_fill(outside, -torch.inf)
    wanted = torch.full((len(scores),), -100).index_copy(0, masked.positions, masked.targets)
    return functional.cross_entropy(scores, wanted, ignore_index=-100)


def differentiate(graft: Graft, loss: Tensor) -> dict[str, Tensor]:
    names = list(dict(graft.layers.named_parameters()))
    values = list(graft.layers.parameters())
    return dict(zip(names, torch.autograd.grad(loss, values), strict=True))


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("name", ["bert", "electra-small", "modernbert"])
def test_loss_and_every_gradient_are_those_of_plain_cross_entropy(
    name: str, head: bool, full: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cross_entropy, "CELLS_PER_CHUNK", 3 * VOCAB)
    base = make_base(name)
    graft, objective = make_graft(base, head=head), make_masked_lm(base, full=full)
    with attach(base, "qu", grafts=[graft]) as attachment:
        loss = objective.compute_loss(attachment, ROWS, seed=2, step=7)
        plain = compute_plainly(attachment, objective, seed=2, step=7)
    assert loss.num_targets == round(0.15 * (loss.num_tokens - 2 * len(ROWS)))
    assert float(loss.mean.detach()) == pytest.approx(float(plain.detach()), abs=1e-5)
    expected = differentiate(graft, plain)
    for value_name, gradient in differentiate(graft, loss.mean).items():
        assert (gradient - expected[value_name]).abs().max() < 1e-5, value_name
        assert gradient.abs().max() > 1e-6, value_name


def test_equal_arguments_give_equal_bits_and_another_step_other_masks():
    base = make_base("bert", with_head=False)
    graft, objective = make_graft(base, head=True), make_masked_lm(base)
    with torch.no_grad(), attach(base, "qu", grafts=[graft]) as attachment:
        losses = [
            objective.compute_loss(attachment, ROWS, seed=1, step=step).total.item() for step in (4, 4, 5)
        ]
    assert losses[0] == losses[1] != losses[2]


def test_pieces_that_the_vocabulary_lacks_are_refused():
    base = make_base("bert")
    few = torch.tensor([0, 1, 2, 3, 4, 9])
    objective = MaskedLm(encode_lines(base), vocabulary=few, masking=Masking())
    with (
        attach(base, None) as attachment,
        pytest.raises(DataError, match=r"the vocabulary of 6 pieces that is scored"),
    ):
        objective.compute_loss(attachment, ROWS, seed=2, step=7)


def test_the_decoder_follows_the_head_that_is_in_force():
    base = make_base("bert")
    objective, graft = make_masked_lm(base), make_graft(base, head=True)
    found = []
    for plan in (None, "qu", None):
        with torch.no_grad(), attach(base, plan, grafts=[graft]) as attachment:
            found.append(objective.compute_loss(attachment, ROWS, seed=2, step=7).total.item())
            alone = make_masked_lm(base).compute_loss(attachment, ROWS, seed=2, step=7).total.item()
        assert found[-1] == alone
    assert found[0] == found[2] != found[1]
