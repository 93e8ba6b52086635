"""Sizes of a base without its pruned units, what is filled up, and what is refused."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import HIDDEN, make_base
from torch import Tensor

from polygraft.base.base import Base
from polygraft.base.shrink import Shrunk, shrink_base
from polygraft.base.units import UnitKind, expand_units, list_units
from polygraft.errors import GraftError, OptionError

NUM_NEURONS = 24
UP, DOWN = "encoder.layer.0.intermediate.dense.weight", "encoder.layer.0.output.dense.weight"


def keep(base: Base, kind: UnitKind, kept: list[list[int]]) -> dict[str, Tensor]:
    """Masks that keep the units with these indices, layer by layer."""
    masks: dict[str, Tensor] = {}
    for units, indices in zip(list_units(base, kind=kind), kept, strict=True):
        chosen = torch.zeros(units.num_units, dtype=torch.bool)
        chosen[indices] = True
        masks |= expand_units(units, kept=chosen)
    return masks


def count(base: Base, shrunk: Shrunk) -> int:
    return sum(shrunk.weights[name].numel() for name, _ in base.model.named_parameters())


@pytest.mark.parametrize(
    ("counts", "multiple", "size"),
    [
        ((3, 10, 6), 1, 10),
        ((3, 10, 6), 8, 16),
        ((8, 8, 8), 8, 8),
        ((17, 2, 2), 16, 24),
        ((24, 2, 2), 8, 24),
        ((0, 0, 0), 8, 8),
        ((0, 0, 0), 1, 1),
        ((4, 4, 4), 100, 24),
    ],
)
def test_the_number_of_neurons_is_the_largest_of_the_layers_rounded_up(
    counts: tuple[int, ...], multiple: int, size: int
):
    base = make_base()
    masks = keep(base, "neurons", [list(range(number)) for number in counts])
    shrunk = shrink_base(base, masks=masks, multiple=multiple)
    assert shrunk.sizes == {"intermediate_size": size, "num_attention_heads": 2}
    assert shrunk.weights[UP].shape == (size, HIDDEN)
    assert shrunk.weights[DOWN].shape == (HIDDEN, size)
    # A row, a place of the bias and a column for each neuron of each layer.
    assert base.num_parameters - count(base, shrunk) == 3 * (NUM_NEURONS - size) * (2 * HIDDEN + 1)


@pytest.mark.parametrize(
    ("name", "key", "num_weights"),
    [
        ("distilbert", "hidden_dim", 33),
        ("modernbert", "intermediate_size", 48),
        ("eurobert", "intermediate_size", 48),
    ],
)
def test_other_families_lose_what_a_neuron_has_there(name: str, key: str, num_weights: int):
    base = make_base(name)
    shrunk = shrink_base(base, masks=keep(base, "neurons", [list(range(1, 24, 3))] * 3))
    assert shrunk.sizes[key] == 8
    assert base.num_parameters - count(base, shrunk) == 3 * 16 * num_weights


def test_the_kept_neurons_stand_in_their_order_and_the_rest_is_zero():
    base = make_base()
    weights = dict(base.model.named_parameters())
    shrunk = shrink_base(base, masks=keep(base, "neurons", [[3, 20, 7], [0], list(range(5))]), multiple=1)
    assert torch.equal(shrunk.weights[UP][:3], weights[UP][[3, 7, 20]])
    assert torch.equal(shrunk.weights[DOWN][:, :3], weights[DOWN][:, [3, 7, 20]])
    assert not shrunk.weights[UP][3:].any()
    assert not shrunk.weights[DOWN][:, 3:].any()
    assert shrunk.notes == (
        "The layers keep from 1 to 5 of 24 neurons, and a configuration has one number for all of them: it is 5, and 6 "
        "places are filled up with zeros.",
    )


def test_a_number_that_is_rounded_up_is_told():
    base = make_base()
    shrunk = shrink_base(base, masks=keep(base, "neurons", [list(range(12))] * 3))
    assert shrunk.notes == (
        "Every layer keeps 12 of 24 neurons. Their number is rounded up to 16, so that 12 places are filled up with "
        "zeros.",
    )


def test_without_masks_nothing_is_smaller_and_the_base_is_not_changed():
    base = make_base()
    shrunk = shrink_base(base, masks={})
    assert shrunk.notes == ()
    assert all(torch.equal(shrunk.weights[name], weight) for name, weight in base.model.named_parameters())
    shrink_base(base, masks=keep(base, "neurons", [[]] * 3))
    assert base.compute_fingerprint() == base.fingerprint


def test_single_weights_are_masked_too_and_their_neurons_stay():
    base = make_base()
    mask = torch.rand(HIDDEN, NUM_NEURONS, generator=torch.Generator().manual_seed(0)) < 0.5
    shrunk = shrink_base(base, masks={DOWN: mask})
    assert torch.equal(shrunk.weights[DOWN], base.model.get_parameter(DOWN) * mask)
    assert shrunk.sizes["intermediate_size"] == NUM_NEURONS


def test_given_values_take_the_place_of_the_bases_own():
    base = make_base()
    values = torch.arange(HIDDEN * NUM_NEURONS, dtype=torch.float64).view(HIDDEN, NUM_NEURONS) + 1
    shrunk = shrink_base(base, masks=keep(base, "neurons", [[1, 2]] * 3), weights={DOWN: values}, multiple=1)
    assert torch.equal(shrunk.weights[DOWN], values[:, 1:3].float())


def test_heads_stay_as_zeros_where_a_heads_size_follows_from_their_number():
    base = make_base("camembert")
    shrunk = shrink_base(base, masks=keep(base, "heads", [[0], [], [0, 1]]))
    assert count(base, shrunk) == base.num_parameters
    assert not shrunk.weights["encoder.layer.0.attention.output.dense.weight"][:, 8:].any()
    assert shrunk.notes == (
        "3 of 6 heads are masked and stay as zeros: in the family 'roberta' a head's size is the hidden size by the "
        "number of heads, so that fewer heads would be larger ones. Heads can be left out in eurobert, llama, "
        "gemma3.",
    )


@pytest.mark.parametrize(
    ("kept", "num_heads", "num_key_value_heads"),
    [
        # Of eight heads in four groups.
        ([[0, 1], [2, 3], [6, 7]], 2, 1),
        ([[0], [2], [7]], 1, 1),
        ([[0, 2, 4, 6], [1], []], 4, 4),
        ([[0, 1, 2, 3], [6, 7], [5]], 4, 2),
        # Three do not divide the hidden size of 16.
        ([[0, 2, 4], [], []], 4, 4),
        ([[0, 1, 2, 3, 4], [], []], 8, 4),
        ([[], [], []], 1, 1),
    ],
)
def test_heads_with_a_size_of_their_own_go_in_groups(
    kept: list[list[int]], num_heads: int, num_key_value_heads: int
):
    base = make_base("eurobert", num_attention_heads=8, num_key_value_heads=4, head_dim=6)
    shrunk = shrink_base(base, masks=keep(base, "heads", kept))
    assert shrunk.sizes["num_attention_heads"] == num_heads
    assert shrunk.sizes["num_key_value_heads"] == num_key_value_heads
    lost = 2 * (8 - num_heads) + 2 * (4 - num_key_value_heads)
    assert base.num_parameters - count(base, shrunk) == 3 * lost * 6 * HIDDEN
    places = 3 * num_heads - sum(map(len, kept))
    assert shrunk.notes == (
        ()
        if places == 0
        else (
            f"The layers keep from {min(map(len, kept))} to {max(map(len, kept))} of 8 heads, and a configuration has "
            f"one number for all of them, which divides the hidden size: it is {num_heads}, and {places} places are "
            "filled up with zeros.",
        )
    )


@pytest.mark.parametrize(
    ("masks", "weights", "message"),
    [
        (
            {"encoder.layer.9.output.dense.weight": torch.ones(16, 24, dtype=torch.bool)},
            {},
            "There are masks for 'encoder.layer.9.output.dense.weight', which is no tensor of the base 'tiny-bert'. "
            "Expected names such as 'embeddings.word_embeddings.weight'. Did you mean "
            "'encoder.layer.2.output.dense.weight'? Take those made for this base.",
        ),
        (
            {DOWN: torch.ones(24, 16, dtype=torch.bool)},
            {},
            f"The masks for '{DOWN}' have the shape [24, 16] and the type bool. Expected [16, 24] and bool. Take those "
            "made for this base.",
        ),
        (
            {DOWN: torch.ones(16, 24)},
            {},
            f"The masks for '{DOWN}' have the shape [16, 24] and the type float32. Expected [16, 24] and bool. Take "
            "those made for this base.",
        ),
        (
            {},
            {DOWN: torch.ones(16, 23)},
            f"The values for '{DOWN}' have the shape [16, 23] and the type float32. Expected [16, 24] and numbers. "
            "Take those made for this base.",
        ),
    ],
)
def test_what_does_not_fit_the_base_is_refused(
    masks: dict[str, Tensor], weights: dict[str, Tensor], message: str
):
    with pytest.raises(GraftError) as refusal:
        shrink_base(make_base(), masks=masks, weights=weights)
    assert str(refusal.value) == message


def test_a_multiple_below_one_is_refused():
    with pytest.raises(OptionError) as refusal:
        shrink_base(make_base(), masks={}, multiple=0)
    assert str(refusal.value) == (
        "The number of neurons is to be rounded up to a multiple of 0. Expected 1 or more. Pass 8, or 1 to have no "
        "more neurons than are kept."
    )
