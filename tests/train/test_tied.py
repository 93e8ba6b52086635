"""Grafts that change what scores the pieces, while pieces are learned to be guessed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.tiny import make_base, make_trained_graft
from tests.train.material import encode_lines, make_masked_lm, make_training, read_bytes, run

from polygraft.attach.attach import attach
from polygraft.attach.graft import make_graft
from polygraft.errors import OptionError
from polygraft.parts.delta import Delta
from polygraft.parts.head import Head
from polygraft.parts.part import Part
from polygraft.parts.presets import language_graft
from polygraft.train.causal import CausalLm

ROWS = np.array([3, 0, 17, 21])
EMBEDDING = Delta(weights=("embedding",))


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("parts", [[EMBEDDING], [EMBEDDING, Head(objective="mlm")]], ids=["own", "graft"])
def test_a_graft_does_not_learn_what_scores_the_pieces(parts: list[Part], full: bool):
    base = make_base("bert")
    weight = base.sites.word_embeddings.weight
    before = weight.clone()
    training = make_training(
        "mlm", base=base, graft=make_graft(base, "new", parts), objective=make_masked_lm(base, full=full)
    )
    with pytest.raises(OptionError) as refused:
        run(training)
    assert str(refused.value) == (
        "The graft 'new' was to change 'embeddings.word_embeddings.weight' while it learns to guess pieces, and these "
        "are also what scores the pieces. Expected other weights, such as linear and norm. Leave the word embeddings "
        "out."
    )
    assert torch.equal(weight, before)
    assert not weight.requires_grad


def test_embeddings_that_score_nothing_are_learned():
    base = make_base("llama")
    graft = make_graft(base, "new", [EMBEDDING])
    before = read_bytes(graft)
    run(
        make_training(
            base=base, graft=graft, objective=CausalLm(encode_lines(base), vocabulary=None), steps=2
        )
    )
    assert read_bytes(graft) != before


@pytest.mark.parametrize("negatives", [0, 4])
def test_each_plan_scores_pieces_by_what_its_grafts_make_of_the_embeddings(negatives: int):
    base = make_base("bert")
    grafts = [
        make_trained_graft(base, "below", [EMBEDDING], seed=1),
        make_graft(base, "new", language_graft(), seed=2),
    ]
    grafts[0].layers.requires_grad_(False)
    kept = make_masked_lm(base, negatives=negatives)
    losses: list[float] = []
    for plan in ("new", "stack(below, new)", "new"):
        with torch.no_grad(), attach(base, plan, grafts=grafts) as attachment:
            found, expected = (
                float(objective.compute_loss(attachment, ROWS, seed=5, step=7).total)
                for objective in (kept, make_masked_lm(base, negatives=negatives))
            )
        assert found == expected
        losses.append(found)
    assert losses[0] == losses[2] != losses[1]
