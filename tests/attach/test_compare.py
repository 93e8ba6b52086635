"""Two grafts that change weights, against sets of places."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import make_base
from tests.weights import WEIGHTS, draw_masks, draw_values

from polygraft.attach.compare import compare_grafts
from polygraft.attach.graft import make_graft
from polygraft.attach.sparse import make_delta, make_mask
from polygraft.errors import GraftError
from polygraft.parts.bottleneck import Bottleneck

NAME = "encoder.layer.0.output.dense.weight"


def test_overlaps_are_those_of_sets_of_places():
    base = make_base()
    masks = [draw_masks(base, density, seed=seed) for seed, density in enumerate((0.2, 0.5))]
    values = [draw_values(masks[0], seed=seed) for seed in (3, 4)]
    grafts = [
        make_delta(base, name, masks[number], weights=WEIGHTS, values=values[number])
        for number, name in enumerate("ab")
    ]
    found = compare_grafts(*grafts)
    sets = [
        {
            (name, place)
            for name, mask in each.items()
            for place in mask.flatten().nonzero().flatten().tolist()
        }
        for each in masks
    ]
    both = sets[0] & sets[1]
    opposite = [
        (name, place)
        for name, place in both
        if values[0][name].flatten()[place] * values[1][name].flatten()[place] < 0
    ]
    total = found.total
    assert (total.num_a, total.num_b, total.num_both) == (len(sets[0]), len(sets[1]), len(both))
    assert total.num_opposite == len(opposite)
    assert total.jaccard == len(both) / len(sets[0] | sets[1])
    assert total.num_by_chance == len(sets[0]) * len(sets[1]) / total.size
    assert [each.num_both for each in found.weights] == sorted(
        (each.num_both for each in found.weights), reverse=True
    )
    assert found.sentences == (
        f"In a stack 'a' and 'b' add up, in either order: both change {len(both):,} places, {len(opposite):,} of them "
        "in opposite directions.",
    )


def test_a_mask_wins_over_a_delta_below_it_alone():
    base = make_base()
    changed, kept = torch.zeros(16, 24, dtype=torch.bool), torch.ones(16, 24, dtype=torch.bool)
    changed[0] = True
    kept[0, :3] = False
    qu = make_delta(base, "qu", {NAME: changed}, weights=(NAME,), values={NAME: torch.ones(16, 24)})
    ner = make_mask(base, "ner", {NAME: kept}, weights=(NAME,))
    found = compare_grafts(qu, ner)
    assert (found.total.num_both, found.total.num_opposite) == (21, 0)
    assert found.sentences == (
        "In stack(qu, ner) the mask of 'ner' wins over 'qu' at 3 places that 'qu' changes.",
        "In stack(ner, qu) the differences of 'qu' are added to what 'ner' left.",
    )


def test_grafts_of_other_weights_have_nothing_in_common():
    base = make_base()
    other = "encoder.layer.1.output.dense.weight"
    whole = torch.ones(16, 24, dtype=torch.bool)
    grafts = [make_delta(base, name, {name: whole}, weights=(name,)) for name in (NAME, other)]
    total = compare_grafts(*grafts).total
    assert (total.num_a, total.num_b, total.num_both, total.jaccard) == (384, 384, 0, 0.0)


def test_a_graft_that_changes_no_weights_is_refused():
    base = make_base()
    delta = make_delta(base, "qu", {}, weights=(NAME,))
    with pytest.raises(GraftError) as refused:
        compare_grafts(delta, make_graft(base, "ner", [Bottleneck(reduction=4)]))
    assert str(refused.value) == (
        "The graft 'ner' has no delta and no mask: its parts are bottleneck. Expected two grafts that change weights. "
        "Name another one."
    )
