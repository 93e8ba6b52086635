"""The masked-LM loss against all scores at all positions."""

from __future__ import annotations

import dataclasses
import math
import statistics

import pytest
import torch
from tests.reference import bare_copy, compute_hidden, compute_logits
from tests.tiny import VOCAB, make_base, make_batch, make_model, make_trained_graft
from torch import Tensor

from polygraft.attach import cross_entropy
from polygraft.attach.attach import attach
from polygraft.attach.piece_loss import Decoder, sum_piece_loss
from polygraft.data.guess_batch import GuessBatch
from polygraft.errors import DataError
from polygraft.parts.head import Head
from polygraft.parts.presets import language_graft

POSITIONS = torch.tensor([1, 4, 10, 12])
TARGETS = torch.tensor([7, 7, 30, 55])


def make_masked() -> GuessBatch:
    batch = make_batch()
    ids = batch.input_ids.clone()
    ids.view(-1)[POSITIONS] = 4
    return GuessBatch(
        input_ids=ids, attention_mask=batch.attention_mask, positions=POSITIONS, targets=TARGETS
    )


@pytest.mark.parametrize("cells", [10_000, 3 * VOCAB, 1])
@pytest.mark.parametrize("name", ["bert", "electra-small", "modernbert", "eurobert"])
def test_the_loss_over_all_pieces_is_exact(name: str, cells: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cross_entropy, "CELLS_PER_CHUNK", cells)
    base, whole, batch = make_base(name), bare_copy(make_model(name)), make_masked()
    graft = make_trained_graft(base, "qu", language_graft())
    with attach(base, "qu", grafts=[graft]) as attachment:
        loss = sum_piece_loss(attachment, batch, Decoder(attachment, None))
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
            loss = sum_piece_loss(attachment, batch, Decoder(attachment, vocabulary))
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
        loss = sum_piece_loss(attachment, batch, Decoder(attachment, vocabulary))
        hidden = attachment.run(batch.input_ids, batch.attention_mask)
        x, weight, bias = attachment.prepare_decoding(hidden.flatten(0, 1)[POSITIONS])
    scores = (x @ weight.T + bias)[:, vocabulary]
    expected = (scores.logsumexp(1) - scores[torch.arange(4), [1, 1, 2, 3]]).sum()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-4)


def measure_drawn(
    count: int, steps: range, *, vocabulary: Tensor, seed: int = 3, name: str = "bert"
) -> list[float]:
    """The loss of the bare base over a vocabulary and some of the other pieces, for several draws."""
    base, batch = make_base(name), make_masked()
    with torch.no_grad(), attach(base, None) as attachment:
        decoder = Decoder(attachment, vocabulary, num_negatives=count)
        found: list[float] = []
        for step in steps:
            decoder.draw(seed=seed, step=step)
            found.append(sum_piece_loss(attachment, batch, decoder).item())
    return found


def score_bare(name: str = "bert") -> Tensor:
    """All scores of the bare base at the masked positions [N, V]."""
    base, batch = make_base(name), make_masked()
    with torch.no_grad(), attach(base, None) as attachment:
        hidden = attachment.run(batch.input_ids, batch.attention_mask)
        x, weight, bias = attachment.prepare_decoding(hidden.flatten(0, 1)[POSITIONS])
        return x @ weight.T if bias is None else x @ weight.T + bias


def test_a_drawn_piece_stands_for_as_many_as_were_not_drawn():
    vocabulary, scores = torch.tensor([4, 7, 30, 55]), score_bare()
    others = [piece for piece in range(VOCAB) if piece not in vocabulary.tolist()]
    right = scores[torch.arange(4), TARGETS].sum()
    # With one drawn, the loss says which: each of them counts as all of the others.
    by_piece = {
        piece: sum(
            torch.cat([row[vocabulary], row[piece : piece + 1] + math.log(len(others))]).logsumexp(0)
            for row in scores
        )
        - right
        for piece in others
    }
    drawn: set[int] = set()
    for loss in measure_drawn(1, range(400), vocabulary=vocabulary):
        nearest = min(others, key=lambda piece: abs(float(by_piece[piece]) - loss))
        assert loss == pytest.approx(float(by_piece[nearest]), abs=1e-4)
        drawn.add(nearest)
    assert len(drawn) > 0.9 * len(others)


def test_the_sum_under_the_softmax_is_right_on_average():
    vocabulary, scores = torch.tensor([7]), score_bare()[:1]
    batch = make_masked()
    batch = dataclasses.replace(batch, positions=POSITIONS[:1], targets=TARGETS[:1])
    with torch.no_grad(), attach(make_base("bert"), None) as attachment:
        decoder = Decoder(attachment, vocabulary, num_negatives=6)
        sums: list[float] = []
        for step in range(3000):
            decoder.draw(seed=0, step=step)
            sums.append(math.exp(sum_piece_loss(attachment, batch, decoder).item()))
    # Each is the sum over the probability of the right piece.
    expected = float((scores.logsumexp(1) - scores[0, 7]).exp())
    assert statistics.fmean(sums) == pytest.approx(expected, rel=0.03)
    assert statistics.stdev(sums) > 0.05 * expected


@pytest.mark.parametrize("name", ["bert", "eurobert"])
def test_all_other_pieces_are_drawn_if_there_are_fewer(name: str):
    (found,) = measure_drawn(10 * VOCAB, range(1), vocabulary=torch.tensor([4, 7, 30, 55]), name=name)
    scores = score_bare(name)
    expected = (scores.logsumexp(1) - scores[torch.arange(4), TARGETS]).sum()
    assert found == pytest.approx(expected.item(), abs=1e-4)


def test_equal_seeds_and_steps_draw_equal_pieces():
    vocabulary = torch.tensor([4, 7, 30, 55])
    first = measure_drawn(3, range(5), vocabulary=vocabulary)
    assert measure_drawn(3, range(5), vocabulary=vocabulary) == first
    assert measure_drawn(3, range(2, 5), vocabulary=vocabulary) == first[2:]
    assert len(set(first)) == 5
    assert measure_drawn(3, range(5), vocabulary=vocabulary, seed=4) != first


def test_gradients_reach_the_biases_of_the_drawn_pieces_alone():
    base, batch = make_base("bert"), make_masked()
    graft = make_trained_graft(base, "qu", [*language_graft(), Head(objective="mlm", layer=2)])
    vocabulary = torch.tensor([4, 7, 30, 55])
    with attach(base, "qu", grafts=[graft]) as attachment:
        decoder = Decoder(attachment, vocabulary, num_negatives=3)
        decoder.draw(seed=0, step=1)
        sum_piece_loss(attachment, batch, decoder).backward()
    moved = graft.layers["head"].bias.grad.nonzero().flatten().tolist()
    assert len(moved) == 7
    assert set(vocabulary.tolist()) < set(moved)


def test_a_target_outside_the_vocabulary_is_refused():
    base, batch = make_base("bert"), make_masked()
    with torch.no_grad(), attach(base, None) as attachment, pytest.raises(DataError) as refusal:
        sum_piece_loss(attachment, batch, Decoder(attachment, torch.tensor([4, 7, 55])))
    assert str(refusal.value) == (
        "The piece 30 is to be guessed, and the vocabulary of 3 pieces that is scored does not have it. Score all "
        "pieces instead (vocabulary = 'full')."
    )
