"""Learned masks."""

from __future__ import annotations

import pytest
import torch
from tests.recipe.by_method import (
    SETTINGS,
    carry_out,
    count,
    flatten,
    load_graft,
    make_order,
    read_checkpoint,
    read_mask,
    stop_after,
)
from tests.tiny import make_base, make_batch

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft, copy_tensors, make_graft
from polygraft.base.base import Base
from polygraft.errors import OptionError
from polygraft.parts.scores import Scores
from polygraft.recipe.methods import Piggyback
from polygraft.train.loop import Interrupted

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


def score(base: Base, graft: Graft) -> torch.Tensor:
    batch = make_batch()
    with torch.no_grad(), attach(base, "new", grafts=[graft]) as attachment:
        return attachment.score(*batch)[batch.attention_mask == 1]


def test_the_stored_mask_gives_what_the_scores_gave_bit_for_bit():
    order = make_order(dev=None)
    with pytest.raises(Interrupted):
        carry_out(Piggyback(), order, should_stop=stop_after(4))
    tensors = read_checkpoint("scores", 4)
    carry_out(Piggyback(), order)
    base = make_base("bert")
    stored = load_graft("new", base=base)
    scored = make_graft(base, "new", [Scores(), stored.parts[1]])
    copy_tensors(scored, tensors)
    assert torch.equal(flatten(read_mask("new")), tensors["scores.values"] > 0.005)
    assert torch.equal(score(base, stored), score(base, scored))


def test_a_mask_has_no_values_to_be_rounded():
    with pytest.raises(OptionError) as refused:
        Piggyback(dtype="float16")
    assert str(refused.value) == (
        "A learned mask was to store its values in float16, and it has none: one bit a weight. Expected no number "
        "format. Leave --values out."
    )
