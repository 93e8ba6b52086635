"""Whole heads and neurons, and the smaller base without them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from tests.recipe.by_method import carry_out, load_graft, make_order, read_mask
from tests.tiny import make_base, make_batch
from transformers import AutoModel

from polygraft.attach.attach import attach
from polygraft.attach.sparse import find_edit, read_values
from polygraft.base.load import load_base
from polygraft.base.units import find_kept_units, list_units
from polygraft.errors import OptionError
from polygraft.parts.mask import MaskLayers
from polygraft.recipe.compact import check_compact, write_compact
from polygraft.recipe.methods import Structured
from polygraft.store.store import Store

pytestmark = pytest.mark.usefixtures("here")


@pytest.mark.parametrize(("units", "left"), [("neurons", 12), ("heads", 1)])
def test_equally_many_units_go_in_each_layer(units: Literal["neurons", "heads"], left: int):
    _, _, made = carry_out(Structured(units=units))
    masks = read_mask("new")
    kept = [find_kept_units(each, masks=masks) for each in list_units(make_base("bert"), kind=units)]
    assert [int(each.sum()) for each in kept] == [left] * 3
    assert made[-1].hyperparameters["units_kept"] == [left] * 3


def test_the_units_with_the_largest_weights_stay():
    carry_out(Structured(sparsity=0.25))
    dense = read_values(find_edit(load_graft("new"), MaskLayers))
    masks = read_mask("new")
    for layer in range(3):
        name = f"encoder.layer.{layer}"
        up, bias, down = (
            masks[f"{name}.{path}"]
            for path in ("intermediate.dense.weight", "intermediate.dense.bias", "output.dense.weight")
        )
        kept = bias
        assert int(kept.sum()) == 18
        # A neuron is a row up, its bias, and a column down; nothing else is pruned.
        assert torch.equal(up, kept[:, None].expand_as(up)) and torch.equal(down, kept.expand_as(down))
        assert bool(masks[f"{name}.attention.self.query.weight"].all())
        assert float(dense[f"{name}.output.dense.weight"][:, ~kept].abs().sum()) == 0


def test_the_smaller_base_computes_what_the_masked_one_does_and_labels_alike():
    _, _, made = carry_out(Structured(sparsity=0.5))
    base, store, folder = make_base("bert"), Store(Path("store")), Path("small")
    report = write_compact(base, store, made[-1], folder=folder)
    batch, pieces = make_batch(), make_batch().attention_mask == 1
    with torch.no_grad(), attach(base, "new", store=store) as attachment:
        hidden, scores = attachment.run(*batch), attachment.score(*batch)
    plain = AutoModel.from_pretrained(folder, add_pooling_layer=False)
    with torch.no_grad():
        found = plain(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    assert torch.allclose(found[pieces], hidden[pieces], atol=1e-5)
    assert plain.config.intermediate_size == 16  # 12, rounded up to a multiple of 8.
    small = load_base(str(folder), device="cpu", dtype="float32")
    with torch.no_grad(), attach(small, "new-compact", store=store) as attachment:
        assert torch.allclose(attachment.score(*batch)[pieces], scores[pieces], atol=1e-5)
    assert report.head == "new-compact"
    assert report.num_parameters_before - report.num_parameters == 3 * 8 * (2 * 16 + 1)
    assert report.tokens_per_second > 0 and report.tokens_per_second_before > 0


def test_biases_that_would_stay_behind_are_refused():
    with pytest.raises(OptionError) as refused:
        carry_out(Structured(weights=("linear",)))
    assert str(refused.value) == (
        "The neurons of layer 0 and others were to be removed, and 3 of their weights are not among those that are "
        "trained (linear), such as 'encoder.layer.0.intermediate.dense.bias'. Expected linear and bias. Add them."
    )


def test_a_smaller_base_that_could_not_be_written_is_refused_before_training():
    with pytest.raises(OptionError) as under:
        check_compact("stack(en)", Path("small"))
    Path("full").mkdir()
    Path("full/file").touch()
    with pytest.raises(OptionError) as full:
        check_compact(None, Path("full"))
    assert str(under.value) == (
        "A smaller base was to be written of a graft over 'stack(en)', whose grafts it would not hold. Expected a "
        "graft that was trained alone. Leave --under or --compact out."
    )
    assert str(full.value) == (
        "A smaller base was to be written to 'full', which is there already. Expected a folder that is not there, or "
        "an empty one. Name another folder."
    )


def test_a_language_may_lose_neurons_too():
    _, _, made = carry_out(Structured(sparsity=0.5, scope="global"), make_order(objective="mlm"))
    kept = made[-1].hyperparameters["units_kept"]
    assert isinstance(kept, list) and sum(int(str(each)) for each in kept) == 36
