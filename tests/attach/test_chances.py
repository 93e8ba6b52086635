"""What a bare base would guess, against the softmax of all its scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.attach.test_piece_loss import make_masked, score_bare
from tests.tiny import VOCAB, make_base

from polygraft.attach import chances
from polygraft.attach.chances import find_chances


@pytest.mark.parametrize("cells", [10_000, 4 * 7, 1])
@pytest.mark.parametrize("name", ["bert", "electra-small", "eurobert"])
def test_they_are_the_mean_of_the_softmax(name: str, cells: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chances, "CELLS_PER_CHUNK", cells)
    found = find_chances(make_base(name), make_masked())
    assert found.shape == (VOCAB,)
    assert found.sum() == pytest.approx(1, abs=1e-5)
    expected = torch.softmax(score_bare(name).double(), -1).mean(0).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)


def test_of_many_places_some_at_equal_distances_are_looked_at(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chances, "MAX_PLACES", 2)
    found = find_chances(make_base("bert"), make_masked())
    expected = torch.softmax(score_bare().double(), -1)[::2].mean(0).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)
