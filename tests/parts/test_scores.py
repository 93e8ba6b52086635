from __future__ import annotations

import torch
from tests.tiny import make_base

from polygraft.attach.graft import make_graft
from polygraft.attach.sparse import find_edit
from polygraft.parts.scores import Scores, ScoresLayers

NAME = "encoder.layer.0.output.dense.weight"


def make_layers() -> ScoresLayers:
    layers = find_edit(make_graft(make_base(), "s", [Scores(weights=(NAME,))]), ScoresLayers)
    with torch.no_grad():
        layers.values[:3] = torch.tensor([0.006, 0.005, -1.0])
    return layers


def test_weights_survive_whose_score_is_above_the_threshold():
    v = torch.ones(16 * 24)
    make_layers().edit(NAME, v, at=None)
    assert v[:4].tolist() == [1, 0, 0, 1]


def test_scores_get_the_gradient_times_the_weight_and_what_is_below_where_it_survives():
    layers, grad, below = make_layers(), torch.full((16 * 24,), 2.0), torch.full((16 * 24,), 3.0)
    layers.differentiate(NAME, grad, at=None, below=lambda: below)
    assert layers.values.grad is not None
    assert layers.values.grad[:4].tolist() == [6, 6, 6, 6]
    assert grad[:4].tolist() == [2, 0, 0, 2]
