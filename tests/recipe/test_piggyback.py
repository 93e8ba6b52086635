"""Learned masks."""

from __future__ import annotations

import pytest
from tests.recipe.by_method import SETTINGS, carry_out, count, load_graft, make_order, read_mask

from polygraft.errors import OptionError
from polygraft.recipe.methods import Piggyback

pytestmark = pytest.mark.usefixtures("here")


def test_a_learned_mask_is_stored_as_bits_alone():
    # Adam's first steps of 0.01 take scores of 0.01 below the threshold, or further above it.
    _, _, made = carry_out(Piggyback(), make_order(settings=SETTINGS))
    kept = count(read_mask("new"))
    assert 0 < kept < 5376
    assert made[-1].hyperparameters["sparsity"] == pytest.approx(1 - kept / 5376)
    assert [part.kind for part in made[-1].parts] == ["mask", "head"]
    head = sum(
        tensor.numel() for name, tensor in load_graft("new").tensors().items() if name.startswith("head.")
    )
    assert made[-1].num_parameters == head


def test_scores_that_begin_below_the_threshold_are_refused():
    with pytest.raises(OptionError) as refused:
        Piggyback(init=0.001)
    assert str(refused.value) == (
        "A learned mask begins with the scores 0.001 and the threshold 0.005, so that nothing would be left. Expected "
        "scores above the threshold. Raise the first, or lower the second."
    )
