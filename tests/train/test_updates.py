"""Rows that are longer than a batch is to be."""

from __future__ import annotations

import numpy as np
from tests.tiny import make_base
from tests.train.material import encode_sentences, make_training, run

from polygraft.train.labels import Labelling


def test_rows_that_are_longer_than_a_batch_are_told_of_once_for_an_objective():
    base, told = make_base("bert"), list[str]()
    objective = Labelling(encode_sentences(base))
    lengths = objective.lengths()
    num_longer = int((lengths > 8).sum())
    assert 0 < num_longer < len(lengths)
    for seed in (1, 2):
        training = make_training(
            base=base, objective=objective, seed=seed, batch_tokens=8, steps=2, notify=told.append
        )
        run(training)
    alone = [rows for update in training.updates for rows in update if lengths[rows].max() > 8]
    assert [len(rows) for rows in alone] == [1] * len(alone)
    assert told == [
        f"{num_longer} of 30 rows have more than 8 tokens, the most that a batch is to have (batch_tokens), and up to "
        f"{np.max(lengths)}. Each of them is a batch alone, which takes the memory of its length. Give shorter rows "
        "where that is too much, or a larger batch_tokens where it is not."
    ]


def test_rows_that_a_batch_has_room_for_are_not_told_of():
    told: list[str] = []
    run(make_training(steps=1, notify=told.append))
    assert told == []
