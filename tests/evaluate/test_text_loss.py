"""The loss of held-out text, of hidden pieces and of the next piece, against loops written out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tests.tiny import DECODERS, make_base, make_trained_graft
from tests.train.material import encode_lines
from torch.nn import functional

from polygraft.attach.attach import attach
from polygraft.data.batches import plan_eval_batches
from polygraft.data.collate import collate
from polygraft.data.masking import Masking, corpus_vocabulary, mask_batch
from polygraft.errors import BaseModelError
from polygraft.evaluate.perplexity import perplexity
from polygraft.evaluate.text_loss import measure_causal_lm, measure_masked_lm, measure_rows
from polygraft.parts.presets import language_graft


@pytest.mark.parametrize("few", [False, True])
def test_a_masked_lm_score_is_that_of_a_loop_written_out(few: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("polygraft.evaluate.text_loss.BATCH_TOKENS", 64)
    base = make_base("bert")
    graft = make_trained_graft(base, "qu", language_graft())
    text = encode_lines(base, count=12)
    vocabulary = corpus_vocabulary(text, special_ids=range(5)) if few else None
    total, count = 0.0, 0
    with torch.no_grad(), attach(base, "qu", grafts=[graft]) as attachment:
        found = measure_masked_lm(attachment, text, vocabulary=vocabulary, masking=Masking(rate=0.3), seed=6)
        for number, rows in enumerate(plan_eval_batches(text.lengths, token_budget=64)):
            masked = mask_batch(
                collate(text, rows, pad_id=1),
                masking=Masking(rate=0.3),
                seed=6,
                step=number,
                mask_id=4,
                special_ids=range(5),
                vocabulary=vocabulary,
            )
            hidden = attachment.run(masked.input_ids, masked.attention_mask).flatten(0, 1)[masked.positions]
            x, weight, bias = attachment.prepare_decoding(hidden)
            scores = functional.linear(x, weight, bias)
            kept = torch.arange(scores.shape[1]) if vocabulary is None else vocabulary
            for row, target in zip(scores, masked.targets, strict=True):
                total += float(row[kept].logsumexp(0) - row[target])
                count += 1
    assert found.num_targets == count > 20
    assert found.loss == pytest.approx(total / count, abs=1e-5)


def test_a_masked_lm_score_is_the_same_each_time_and_another_with_another_seed():
    base = make_base("bert")
    with attach(base, None) as attachment:
        scores = [
            measure_masked_lm(attachment, encode_lines(base), vocabulary=None, masking=Masking(), seed=seed)
            for seed in (1, 1, 2)
        ]
    assert scores[0] == scores[1] != scores[2]


@pytest.mark.parametrize("name", DECODERS)
@torch.no_grad()
def test_the_loss_is_the_mean_over_all_pieces_behind_the_first(name: str):
    base = make_base(name)
    text, graft = encode_lines(base), make_trained_graft(base, "qu", language_graft(), seed=3)
    with attach(base, "qu", grafts=[graft]) as attachment:
        found = measure_causal_lm(attachment, text, vocabulary=None)
        losses = []
        for start, end in zip(text.starts[:-1], text.starts[1:], strict=True):
            ids = torch.from_numpy(text.ids[start:end]).long()
            hidden = attachment.run(ids[None], torch.ones_like(ids)[None])[0]
            x, weight, bias = attachment.prepare_decoding(hidden)
            assert bias is None
            losses.append(functional.cross_entropy((x @ weight.T)[:-1], ids[1:], reduction="none"))
    wanted = float(torch.cat(losses).mean())
    assert found.num_targets == text.num_tokens - text.num_rows == len(torch.cat(losses))
    assert found.loss == pytest.approx(wanted, rel=1e-5)
    assert perplexity(found.loss) == pytest.approx(math.exp(wanted), rel=1e-4)


@pytest.mark.parametrize(("num_negatives", "few"), [(0, False), (0, True), (4, True)])
def test_the_losses_of_rows_add_up_to_that_of_the_text(
    num_negatives: int, few: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("polygraft.evaluate.text_loss.BATCH_TOKENS", 64)
    base = make_base("bert")
    graft = make_trained_graft(base, "qu", language_graft())
    text = encode_lines(base, count=12)
    vocabulary = corpus_vocabulary(text, special_ids=range(5)) if few else None
    asked: dict[str, Any] = {
        "vocabulary": vocabulary,
        "masking": Masking(rate=0.3),
        "seed": 6,
        "num_negatives": num_negatives,
    }
    with attach(base, "qu", grafts=[graft]) as attachment:
        whole, rows = measure_masked_lm(attachment, text, **asked), measure_rows(attachment, text, **asked)
    assert rows.shape == (12, 2)
    assert rows[:, 1].sum() == whole.num_targets
    assert rows[:, 0].sum() / rows[:, 1].sum() == pytest.approx(whole.loss, abs=1e-6)


@torch.no_grad()
def test_the_loss_of_a_row_is_that_of_its_own_hidden_pieces(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("polygraft.evaluate.text_loss.BATCH_TOKENS", 64)
    base = make_base("bert")
    text, masking = encode_lines(base, count=12), Masking(rate=0.3)
    found = {}
    with attach(base, None) as attachment:
        measured = measure_rows(attachment, text, vocabulary=None, masking=masking, seed=6)
        for number, rows in enumerate(plan_eval_batches(text.lengths, token_budget=64)):
            masked = mask_batch(
                collate(text, rows, pad_id=1),
                masking=masking,
                seed=6,
                step=number,
                mask_id=4,
                special_ids=range(5),
                vocabulary=None,
            )
            width = masked.input_ids.shape[1]
            for place, row in enumerate(rows.tolist()):
                own = masked.positions // width == place
                ids, mask = masked.input_ids[place : place + 1], masked.attention_mask[place : place + 1]
                hidden = attachment.run(ids, mask)[0][masked.positions[own] % width]
                x, weight, bias = attachment.prepare_decoding(hidden)
                scores = functional.linear(x, weight, bias)
                found[row] = (
                    float(functional.cross_entropy(scores, masked.targets[own], reduction="sum")),
                    int(own.sum()),
                )
    assert sorted(found) == list(range(12))
    for row, (nats, count) in found.items():
        assert measured[row, 1] == count
        assert measured[row, 0] == pytest.approx(nats, abs=1e-4)


@pytest.mark.parametrize("name", DECODERS[:1])
def test_rows_of_a_causal_base_add_up_too(name: str):
    base = make_base(name)
    text = encode_lines(base)
    with attach(base, None) as attachment:
        whole = measure_causal_lm(attachment, text, vocabulary=None)
        rows = measure_rows(attachment, text, vocabulary=None, masking=Masking())
    assert rows[:, 1].tolist() == (text.lengths - 1).tolist()
    assert rows[:, 0].sum() / rows[:, 1].sum() == pytest.approx(whole.loss, abs=1e-6)


def test_a_causal_base_does_not_guess_hidden_pieces():
    base = make_base("gpt2")
    with attach(base, None) as attachment, pytest.raises(BaseModelError) as refusal:
        measure_masked_lm(attachment, encode_lines(base), vocabulary=None, masking=Masking())
    assert str(refusal.value) == (
        "The base 'tiny-gpt2' reads from left to right, and masked language modelling (mlm) asks for pieces by what "
        "stands on both sides. Expected the objective causal, which guesses the next piece. Take `polygraft train "
        "causal`, or a base such as 'bundled'."
    )
