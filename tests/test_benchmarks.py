"""What the scripts in `benchmarks/` compare is what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks import packing
from numpy.typing import NDArray
from tests.tiny import make_base
from tests.train.material import encode_lines, make_training, run

from polygraft.base.base import Base
from polygraft.data.encode import EncodedText
from polygraft.data.masking import corpus_vocabulary


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Base:
    # The tiny base has 48 places.
    monkeypatch.setattr(packing, "LENGTH", 32)
    return make_base("bert")


def list_losses(base: Base, text: EncodedText, sentence_of: NDArray[np.int32] | None) -> list[float]:
    vocabulary = corpus_vocabulary(text, special_ids=base.special_ids)
    objective = packing.Feeding(base, text, sentence_of, vocabulary)
    losses = [step.loss for step in run(make_training("mlm", base=base, objective=objective, steps=3))]
    assert objective.num_cells > objective.num_pieces > 0
    return losses


def test_a_sentence_a_row_is_fed_as_polygraft_trains_whether_it_is_told_apart_or_not(base: Base):
    text = encode_lines(base)
    wanted = [step.loss for step in run(make_training("mlm", base=base, steps=3))]
    numbers = np.repeat(np.arange(text.num_rows, dtype=np.int32), text.lengths)
    assert list_losses(base, text, None) == wanted
    assert list_losses(base, text, numbers) == pytest.approx(wanted, abs=1e-5)


def test_packed_sentences_see_only_themselves(base: Base):
    text = encode_lines(base)
    packed, sentence_of = packing.pack(text, seed=1)
    assert packed.num_rows < text.num_rows / 2
    assert packing.check_apart(base, packed, sentence_of) < 1e-5
    assert list_losses(base, packed, sentence_of) != list_losses(base, packed, None)


def test_the_sentence_at_each_cell_is_that_of_a_plain_loop(base: Base):
    packed, sentence_of = packing.pack(encode_lines(base), seed=1)
    rows = np.array([2, 0, 3])
    width = int(packed.lengths[rows].max()) + 2
    expected = torch.full((3, width), -1)
    for place, row in enumerate(rows):
        own = sentence_of[packed.starts[row] : packed.starts[row + 1]]
        expected[place, : len(own)] = torch.from_numpy(own)
    assert torch.equal(packing.pad_numbers(packed, sentence_of, rows, width=width), expected)
