"""Heads and neurons: masking them by name does what leaving out their contribution does, in every family."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch
from tests.tiny import BASES, HIDDEN, make_base, make_batch
from torch import Tensor, nn
from transformers import PreTrainedModel

from polygraft.base.base import Base
from polygraft.base.sites import FAMILIES
from polygraft.base.units import (
    UNITS_OF,
    UnitKind,
    Units,
    expand_units,
    find_kept_units,
    list_units,
    sum_unit_scores,
)
from polygraft.errors import BaseModelError, GraftError, OptionError

NUM_NEURONS, HEAD = 24, 8
CASES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    **{name: (name, {}) for name in BASES},
    "eurobert-grouped": ("eurobert", {"num_attention_heads": 4, "num_key_value_heads": 2}),
    "eurobert-wide": ("eurobert", {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 6}),
    "modernbert-biased": ("modernbert", {"attention_bias": True, "mlp_bias": True}),
}
SHARED = {"eurobert", "eurobert-grouped", "llama", "qwen3", "gemma3"}
"""Where heads share keys and values, which stay while one of them is kept."""
# Written down here once more, so that a wrong row of the table is seen.
READERS = {
    "distilbert": ("attention.out_lin", "ffn.lin2"),
    "modernbert": ("attn.Wo", "mlp.Wo"),
    **dict.fromkeys(("eurobert", "llama", "gemma3"), ("self_attn.o_proj", "mlp.down_proj")),
    "gpt2": ("attn.c_proj", "mlp.c_proj"),
}
BERT_READERS = ("attention.output.dense", "output.dense")


def make_case(case: str) -> Base:
    name, changes = CASES[case]
    return make_base(name, **changes)


def draw_kept(units: list[Units], *, seed: int = 0) -> list[Tensor]:
    """About half of the units of each layer, in the first layer none, in the last all."""
    generator = torch.Generator().manual_seed(seed)
    kept = [torch.rand(each.num_units, generator=generator) < 0.5 for each in units]
    kept[0][:], kept[-1][:] = False, True
    kept[1][0], kept[1][-1] = True, False
    return kept


def expand_all(units: list[Units], kept: list[Tensor]) -> dict[str, Tensor]:
    masks: dict[str, Tensor] = {}
    for each, chosen in zip(units, kept, strict=True):
        masks |= expand_units(each, kept=chosen)
    return masks


def mask_model(base: Base, masks: Mapping[str, Tensor]) -> PreTrainedModel:
    """A copy of the base whose masked weights are zero."""
    model = copy.deepcopy(base.model)
    for name, mask in masks.items():
        model.get_parameter(name).data.mul_(mask)
    return model


def leave_out(layer: nn.Module, inputs: tuple[Tensor], *, kept: Tensor) -> tuple[Tensor]:
    """Set what the units that are not kept give [B, T, U * size] to zero."""
    del layer
    x = inputs[0]
    return ((x.view(*x.shape[:-1], len(kept), -1) * kept[:, None]).flatten(-2),)


def run_reference(base: Base, kind: UnitKind, kept: list[Tensor]) -> Tensor:
    """The hidden states of the base while what the units give is set to zero on its way."""
    path = READERS.get(base.sites.family.name, BERT_READERS)[0 if kind == "heads" else 1]
    hooks = [
        layer.get_submodule(path).register_forward_pre_hook(partial(leave_out, kept=chosen))
        for layer, chosen in zip(base.sites.layers, kept, strict=True)
    ]
    hidden = run(base.model)
    for hook in hooks:
        hook.remove()
    return hidden


def run(model: PreTrainedModel) -> Tensor:
    """Hidden states at the places that are not padding."""
    batch = make_batch()
    with torch.no_grad():
        hidden = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
        return hidden[batch.attention_mask.bool()]


@pytest.mark.parametrize("kind", ["heads", "neurons"])
@pytest.mark.parametrize("case", CASES)
def test_masked_units_add_nothing_and_the_others_what_they_did(case: str, kind: UnitKind):
    base = make_case(case)
    units = list_units(base, kind=kind)
    kept = draw_kept(units)
    found = run(mask_model(base, expand_all(units, kept)))
    torch.testing.assert_close(found, run_reference(base, kind, kept), rtol=1e-5, atol=1e-5)
    assert (found - run(base.model)).abs().max() > 0.1


@pytest.mark.parametrize("kind", ["heads", "neurons"])
@pytest.mark.parametrize("case", [case for case in CASES if case not in SHARED])
def test_inner_weights_with_their_biases_are_enough(case: str, kind: UnitKind):
    base = make_case(case)
    units = list_units(base, kind=kind)
    kept = draw_kept(units)
    masks = expand_all(units, kept)
    inner = {part.name: masks[part.name] for each in units for part in each.inner}
    found = run(mask_model(base, inner))
    torch.testing.assert_close(found, run_reference(base, kind, kept), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["heads", "neurons"])
@pytest.mark.parametrize("case", CASES)
def test_output_weights_are_enough(case: str, kind: UnitKind):
    base = make_case(case)
    units = list_units(base, kind=kind)
    kept = draw_kept(units)
    masks = expand_all(units, kept)
    found = run(mask_model(base, {each.output.name: masks[each.output.name] for each in units}))
    torch.testing.assert_close(found, run_reference(base, kind, kept), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_every_weight_of_a_sublayer_but_the_last_bias_and_the_norms_is_a_units(case: str):
    base = make_case(case)
    units = [*list_units(base, kind="heads"), *list_units(base, kind="neurons")]
    names = [part.name for each in units for part in each.slices]
    assert len(names) == len(set(names))
    outputs = {each.output.name.removesuffix("weight") + "bias" for each in units}
    rest = {
        name
        for name, _ in base.model.named_parameters()
        if name.startswith(base.sites.family.layers + ".")
        and name not in names
        and "norm" not in name.lower()
        and ".ln_" not in name
    }
    assert rest == outputs & dict(base.model.named_parameters()).keys()


@pytest.mark.parametrize("kind", ["heads", "neurons"])
@pytest.mark.parametrize("case", CASES)
def test_each_weight_is_counted_once(case: str, kind: UnitKind):
    base = make_case(case)
    weights = dict(base.model.named_parameters())
    for units in list_units(base, kind=kind):
        scores = sum_unit_scores(units, scores=lambda name: torch.ones_like(weights[name]))
        total = sum(weights[part.name].numel() for part in units.slices)
        assert scores.tolist() == [total / units.num_units] * units.num_units


@pytest.mark.parametrize(
    ("case", "head", "neuron"),
    [
        # Rows of query, key and value with their biases, and columns of the output.
        ("bert", 3 * (HIDDEN + 1) * HEAD + HIDDEN * HEAD, (HIDDEN + 1) + HIDDEN),
        ("distilbert", 3 * (HIDDEN + 1) * HEAD + HIDDEN * HEAD, (HIDDEN + 1) + HIDDEN),
        # With a key and a query for positions, and without.
        ("deberta-v2", 5 * (HIDDEN + 1) * HEAD + HIDDEN * HEAD, (HIDDEN + 1) + HIDDEN),
        ("deberta-v3", 3 * (HIDDEN + 1) * HEAD + HIDDEN * HEAD, (HIDDEN + 1) + HIDDEN),
        # Gated, without biases.
        ("modernbert", 3 * HIDDEN * HEAD + HIDDEN * HEAD, 2 * HIDDEN + HIDDEN),
        # Two query heads share a key and a value head.
        ("eurobert", 2 * HIDDEN * HEAD // 2 + HIDDEN * HEAD + HIDDEN * HEAD, 2 * HIDDEN + HIDDEN),
    ],
)
def test_a_unit_has_as_many_weights_as_the_formula_says(case: str, head: int, neuron: int):
    base = make_case(case)
    weights = dict(base.model.named_parameters())

    def count(kind: UnitKind) -> list[int]:
        units = list_units(base, kind=kind)[1]
        return sum_unit_scores(units, scores=lambda name: torch.ones_like(weights[name])).tolist()

    assert count("heads") == [head] * 2
    assert count("neurons") == [neuron] * NUM_NEURONS


@pytest.mark.parametrize("kind", ["heads", "neurons"])
@pytest.mark.parametrize("case", CASES)
def test_the_score_of_a_unit_is_what_its_own_mask_leaves(case: str, kind: UnitKind):
    base = make_case(case)
    weights = dict(base.model.named_parameters())
    units = list_units(base, kind=kind)[1]
    scores = sum_unit_scores(units, scores=lambda name: weights[name].abs())
    num_sharing = {part.name: part.num_sharing for part in units.slices}
    for index in (0, units.num_units - 1):
        masks = expand_units(units, kept=torch.arange(units.num_units) == index)
        expected = sum(
            float(weights[name][mask].abs().double().sum()) / num_sharing[name]
            for name, mask in masks.items()
        )
        assert math.isclose(float(scores[index]), expected, rel_tol=1e-9)


@pytest.mark.parametrize("kind", ["heads", "neurons"])
@pytest.mark.parametrize("case", CASES)
def test_what_is_kept_can_be_read_out_of_the_masks(case: str, kind: UnitKind):
    units = list_units(make_case(case), kind=kind)
    kept = draw_kept(units)
    masks = expand_all(units, kept)
    for each, chosen in zip(units, kept, strict=True):
        assert torch.equal(find_kept_units(each, masks=masks), chosen)
        assert find_kept_units(each, masks={}).all()


def test_a_unit_of_which_one_output_weight_survives_is_kept():
    units = list_units(make_base(), kind="neurons")[0]
    mask = torch.zeros(HIDDEN, NUM_NEURONS, dtype=torch.bool)
    mask[3, 5] = True
    assert find_kept_units(units, masks={units.output.name: mask}).nonzero().tolist() == [[5]]


def test_a_shared_key_and_value_head_survives_while_one_of_its_query_heads_does():
    units = list_units(make_case("eurobert-grouped"), kind="heads")[0]
    masks = expand_units(units, kept=torch.tensor([False, True, False, False]))
    rows = {name.split(".")[-2]: mask[:, 0].tolist() for name, mask in masks.items()}
    assert rows["q_proj"] == [False] * 4 + [True] * 4 + [False] * 8
    assert rows["k_proj"] == rows["v_proj"] == [True] * 4 + [False] * 4


def test_every_family_of_the_table_of_sites_has_units():
    assert list(UNITS_OF) == [family.name for family in FAMILIES]


def test_a_family_without_a_row_is_refused(monkeypatch: pytest.MonkeyPatch):
    others = {name: row for name, row in UNITS_OF.items() if name != "roberta"}
    monkeypatch.setattr("polygraft.base.units.UNITS_OF", others)
    with pytest.raises(BaseModelError) as refusal:
        list_units(make_base("camembert"), kind="heads")
    assert str(refusal.value) == (
        "Where the heads and neurons of the family 'roberta' are is not known. Expected one of bert, electra, "
        "distilbert, deberta-v2, modernbert, eurobert, gpt2, llama, gemma3. Did you mean 'eurobert'? Take a "
        "base of these, or prune single weights."
    )


def test_a_base_that_is_laid_out_otherwise_is_refused():
    base = make_base()
    base.sites.layers[1].intermediate.dense = nn.Identity()
    with pytest.raises(BaseModelError) as refusal:
        list_units(base, kind="neurons")
    assert str(refusal.value) == (
        "The neurons of layer 1 are expected in the tensor 'encoder.layer.1.intermediate.dense.weight', which the base "
        "does not have. Expected all of encoder.layer.1.intermediate.dense.weight, encoder.layer.1.output.dense.weight"
        ". Load the bare encoder of a Hugging Face model."
    )


def test_an_unknown_kind_is_refused():
    with pytest.raises(OptionError) as refusal:
        list_units(make_base(), kind="neuron")
    assert str(refusal.value) == (
        "'neuron' is no kind of unit. Expected heads or neurons. Did you mean 'neurons'? Name one of these."
    )


@pytest.mark.parametrize(
    ("kept", "found"),
    [
        (torch.ones(3, dtype=torch.bool), "the shape [3] and the type bool"),
        (torch.ones(2), "the shape [2] and the type float32"),
    ],
)
def test_a_mask_of_units_that_does_not_fit_is_refused(kept: Tensor, found: str):
    with pytest.raises(GraftError) as refusal:
        expand_units(list_units(make_base(), kind="heads")[2], kept=kept)
    assert str(refusal.value) == (
        f"The heads of layer 2 are 2, and what is kept of them is told by a tensor of {found}. Expected [2] and bool. "
        "Make it of the `num_units` that `list_units` gives."
    )
