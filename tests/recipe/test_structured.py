"""Whole heads and neurons, and the smaller base without them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from tests.recipe.by_method import carry_out, load_graft, make_order, read_bytes, read_mask, stop_after
from tests.tiny import make_base, make_batch
from transformers import AutoModel

from polygraft.attach.attach import attach
from polygraft.attach.sparse import find_edit, read_values
from polygraft.base.load import load_base
from polygraft.base.units import find_kept_units, list_units
from polygraft.errors import OptionError
from polygraft.parts.mask import MaskLayers
from polygraft.recipe.compact import check_compact, summarise_rounds, write_compact
from polygraft.recipe.methods import Imp, LtSft, Structured
from polygraft.store.store import Store
from polygraft.train.loop import Interrupted

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


@pytest.mark.parametrize("criterion", ["magnitude", "change"])
def test_a_unit_is_as_good_as_its_weights_together(criterion: str):
    carry_out(Structured(sparsity=0.25, criterion=criterion))
    # The same dense training, stored as it is.
    carry_out(Imp(sparsities=(0,), weights=("linear", "bias")), store="dense")
    dense = read_values(find_edit(load_graft("new", store="dense"), MaskLayers))
    start = {
        name: torch.zeros_like(weight) if criterion == "magnitude" else weight
        for name, weight in make_base("bert").model.named_parameters()
    }
    moved = {name: (value - start[name]).abs().double() for name, value in dense.items()}
    for layer in range(3):
        up, down = (f"encoder.layer.{layer}.{path}.dense" for path in ("intermediate", "output"))
        scores = [
            float(
                moved[f"{up}.weight"][j].sum() + moved[f"{up}.bias"][j] + moved[f"{down}.weight"][:, j].sum()
            )
            for j in range(24)
        ]
        best = sorted(range(24), key=lambda j: -scores[j])[:18]
        assert read_mask("new")[f"{up}.bias"].nonzero().flatten().tolist() == sorted(best)


@pytest.mark.parametrize("criterion", ["movement", "fisher", "random"])
def test_units_are_chosen_by_other_criteria_too(criterion: str):
    carry_out(Structured(criterion=criterion, num_batches=2))
    carry_out(Structured(), store="other")
    chosen, others = read_mask("new"), read_mask("new", store="other")
    name = "encoder.layer.0.intermediate.dense.bias"
    assert int(chosen[name].sum()) == int(others[name].sum()) == 12
    assert not torch.equal(chosen[name], others[name])


@pytest.mark.parametrize("family", ["modernbert", "eurobert", "deberta-v3"])
@pytest.mark.parametrize("units", ["neurons", "heads"])
def test_every_family_gives_a_base_that_computes_the_same(family: str, units: Literal["neurons", "heads"]):
    base, store = make_base(family), Store(Path("store"))
    _, _, made = carry_out(Structured(units=units), base=base)
    masks = read_mask("new", base=base)
    kept = [find_kept_units(each, masks=masks) for each in list_units(base, kind=units)]
    assert [int(each.sum()) for each in kept] == [12 if units == "neurons" else 1] * 3
    write_compact(base, store, made[-1], folder=Path("small"))
    small = load_base("small", device="cpu", dtype="float32")
    batch, pieces = make_batch(), make_batch().attention_mask == 1
    with torch.no_grad(), attach(base, "new", store=store) as attachment:
        scores = attachment.score(*batch)
    with torch.no_grad(), attach(small, "new-compact", store=store) as attachment:
        assert torch.allclose(attachment.score(*batch)[pieces], scores[pieces], atol=1e-5)


def test_a_pruning_that_was_stopped_goes_on_to_the_same_bytes():
    method = Structured(criterion="fisher", num_batches=2)
    carry_out(method, store="whole")
    with pytest.raises(Interrupted):
        carry_out(method, should_stop=stop_after(6))
    carry_out(method)
    assert read_bytes("store") == read_bytes("whole")


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
    assert report.notes[-1] == (
        "The folder holds the encoder alone, as a Hugging Face base does: the head that was trained is the graft "
        "'new-compact' in the store."
    )
    assert report.num_parameters_before - report.num_parameters == 3 * 8 * (2 * 16 + 1)
    assert report.tokens_per_second > 0 and report.tokens_per_second_before > 0
    assert 0 < report.speed_up_range[0] <= report.speed_up <= report.speed_up_range[1]


def test_a_speed_up_is_taken_within_rounds():
    # The machine had other work from the third round on, so that medians apart would say 2.5.
    rounds = [(100.0, 150.0), (100.0, 150.0), (40.0, 60.0), (40.0, 100.0), (20.0, 32.0)]
    assert summarise_rounds(rounds) == {
        "tokens_per_second": 100.0,
        "tokens_per_second_before": 40.0,
        "speed_up": 1.5,
        "speed_up_range": (1.5, 2.5),
    }


def test_biases_that_would_stay_behind_are_refused():
    with pytest.raises(OptionError) as refused:
        carry_out(Structured(weights=("linear",)))
    assert str(refused.value) == (
        "The neurons of layer 0 and others were to be removed, and 3 of their weights are not among those that are "
        "trained (linear), such as 'encoder.layer.0.intermediate.dense.bias'. Expected linear and bias. Add them."
    )


def test_a_smaller_base_that_could_not_be_written_is_refused_before_training():
    with pytest.raises(OptionError) as under:
        check_compact(Structured(), under="stack(en)", folder=Path("small"))
    Path("full").mkdir()
    Path("full/file").touch()
    with pytest.raises(OptionError) as full:
        check_compact(Structured(), under=None, folder=Path("full"))
    with pytest.raises(OptionError) as unpruned:
        check_compact(LtSft(), under=None, folder=Path("small"))
    assert str(unpruned.value) == (
        "A smaller base was to be written of what 'lt-sft' makes, which changes weights and prunes none. Expected a "
        "method that prunes, such as structured. Choose that, or leave --compact out."
    )
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
    # A loss, as the score is.
    assert float(str(made[-1].hyperparameters["when_cut"])) > 0 < made[-1].scores["held_out_loss"]
    kept = made[-1].hyperparameters["units_kept"]
    assert isinstance(kept, list) and sum(int(str(each)) for each in kept) == 36


def test_biases_have_no_inputs_to_weigh_them_by():
    with pytest.raises(OptionError) as refused:
        Structured(criterion="wanda")
    assert str(refused.value) == (
        "Units were to be kept by the criterion 'wanda', which says nothing about the biases of a unit. Expected "
        "magnitude, change, movement, fisher or random. Choose one of these."
    )


def test_no_batches_are_refused():
    with pytest.raises(OptionError) as refused:
        Structured(criterion="fisher", num_batches=0)
    assert str(refused.value) == (
        "Scores were to be gathered over 0 batches. Expected 1 or more. Give a larger number."
    )


def test_single_weights_at_zero_make_no_smaller_base():
    _, _, made = carry_out(Imp(sparsities=(0.5,)))
    report = write_compact(make_base("bert"), Store(Path("store")), made[-1], folder=Path("same"))
    assert report.num_parameters == report.num_parameters_before
    assert report.notes[0] == (
        "The base in same is as large as before: no head or neuron is pruned as a whole, so that only numbers in it "
        "are zero. `polygraft prune structured` removes whole ones."
    )


def test_the_head_that_a_smaller_base_lacks_is_told():
    _, _, made = carry_out(Structured(), make_order(objective="mlm"))
    report = write_compact(make_base("bert"), Store(Path("store")), made[-1], folder=Path("small"))
    assert report.head is None
    assert report.notes[-1] == (
        "The folder holds the encoder alone, as a Hugging Face base does: the masked-LM head of 'tiny-bert' is not in "
        "it, so it cannot guess pieces by itself."
    )
