"""Which other pieces are scored beside a text's own."""

from __future__ import annotations

import dataclasses
import statistics

import numpy as np
import pytest
import torch
from tests.tiny import make_base
from tests.train.material import encode_lines, make_masked_lm, make_training, run
from tests.train.test_mlm import make_graft

from polygraft.attach.attach import attach
from polygraft.base.base import Base
from polygraft.data.encode import EncodedText
from polygraft.data.masking import Masking, corpus_vocabulary
from polygraft.train import guessing
from polygraft.train.causal import CausalLm
from polygraft.train.guessing import Guessing
from polygraft.train.mlm import MaskedLm

ROWS = np.array([0, 1])


def take_lines(base: Base) -> EncodedText:
    """Few lines, so that most pieces are others."""
    return encode_lines(base, 2)


def make_objective(base: Base, *, negatives: int = 4) -> MaskedLm:
    text = take_lines(base)
    vocabulary = corpus_vocabulary(text, special_ids=base.special_ids)
    assert len(vocabulary) < 30
    return MaskedLm(text, vocabulary=vocabulary, masking=Masking(), num_negatives=negatives)


def list_losses(base: Base, objective: Guessing, *, head: bool, is_ready: bool) -> list[float]:
    """The loss of the same rows and masks with other pieces drawn each time."""
    if is_ready:
        objective.get_ready(base)
    found: list[float] = []
    with torch.no_grad(), attach(base, "qu", grafts=[make_graft(base, head=head)]) as attachment:
        objective.compute_loss(attachment, ROWS, seed=0, step=0)
        assert objective._decoder is not None
        for step in range(300):
            objective._decoder.draw(seed=7, step=step)
            objective._decoder.draw, draw = lambda **_: None, objective._decoder.draw
            found.append(float(objective.compute_loss(attachment, ROWS, seed=0, step=0).total))
            objective._decoder.draw = draw
    return found


def test_the_base_says_which_others_are_worth_scoring():
    base = make_base("bert")
    even, known = (
        list_losses(base, make_objective(base), head=False, is_ready=is_ready) for is_ready in (False, True)
    )
    exact = make_objective(base, negatives=1000)
    (right,) = set(list_losses(base, exact, head=False, is_ready=True))
    assert statistics.stdev(known) < 0.7 * statistics.stdev(even)
    assert statistics.fmean(known) == pytest.approx(right, abs=0.5 * statistics.stdev(known))


def test_of_what_another_head_would_guess_the_base_says_nothing():
    base = make_base("bert")
    even, known = (
        list_losses(base, make_objective(base), head=True, is_ready=is_ready) for is_ready in (False, True)
    )
    assert known == even


def test_a_training_asks_before_its_first_step():
    base = make_base("bert")
    objective = make_objective(base)
    run(make_training("mlm", base=base, objective=objective, steps=1))
    assert objective.chances is not None
    again = make_objective(base)
    again.get_ready(base)
    assert np.array_equal(objective.chances, again.chances)


def test_what_was_scored_before_the_base_was_asked_counts_for_nothing():
    base = make_base("bert")
    late, early = make_objective(base), make_objective(base)
    with torch.no_grad(), attach(base, "qu", grafts=[make_graft(base, head=False)]) as attachment:
        late.compute_loss(attachment, ROWS, seed=0, step=0)
    assert list_losses(base, late, head=False, is_ready=True) == list_losses(
        base, early, head=False, is_ready=True
    )


def test_the_base_is_asked_on_rows_of_all_lengths(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(guessing, "PROBE_TOKENS", 100)
    base = make_base("bert")
    objective = make_masked_lm(base)
    rows = objective._choose_rows()
    lengths = objective.lengths()[rows]
    assert len(rows) * lengths.max() <= 100
    assert len(rows) == len(set(rows.tolist())) > 4
    assert lengths.max() > lengths.min() + 2
    assert rows.tolist() != sorted(rows)
    assert rows.max() > 15
    monkeypatch.setattr(guessing, "PROBE_TOKENS", 1)
    assert len(objective._choose_rows()) == 1


def test_a_causal_base_is_asked_for_the_next_piece():
    base = make_base("gpt2")
    text = take_lines(base)
    objective = CausalLm(
        text, vocabulary=corpus_vocabulary(text, special_ids=base.special_ids), num_negatives=4
    )
    objective.get_ready(base)
    assert objective.chances is not None
    assert objective.chances.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("case", ["all pieces", "no others", "no head"])
def test_nothing_is_asked_where_it_says_nothing(case: str):
    base = make_base("bert")
    objective = make_objective(base, negatives=0 if case == "no others" else 4)
    if case == "all pieces":
        objective.vocabulary = None
    if case == "no head":
        base = dataclasses.replace(base, head=None)
    objective.get_ready(base)
    assert objective.chances is None
