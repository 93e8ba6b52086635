from __future__ import annotations

import pytest
import torch
from tests.tiny import make_base, make_batch, make_trained_graft
from tests.weights import run

from polygraft.attach.attach import attach
from polygraft.attach.graft import make_graft
from polygraft.attach.sparse import find_edit
from polygraft.errors import OptionError
from polygraft.parts.bitfit import BitFit, BitFitLayers


def test_it_is_about_all_biases_and_no_other_weight():
    base = make_base()
    layers = find_edit(make_graft(base, "b", [BitFit()]), BitFitLayers)
    biases = {name: weight for name, weight in base.model.named_parameters() if name.endswith(".bias")}
    assert layers.names == list(biases)
    assert any("LayerNorm" in name for name in biases) and any("dense" in name for name in biases)
    assert len(layers.values) == sum(weight.numel() for weight in biases.values())
    assert layers.values.abs().max() == 0


def test_it_adds_its_own_values_to_each_bias():
    base = make_base()
    graft = make_trained_graft(base, "b", [BitFit(skip_layers=(0,))])
    layers = find_edit(graft, BitFitLayers)
    before = {name: weight.detach().clone() for name, weight in base.model.named_parameters()}
    values, start = layers.values.detach(), 0
    with attach(base, "b", grafts=[graft]):
        for name, weight in base.model.named_parameters():
            if name.endswith(".bias") and ".layer.0." not in name:
                expected = before[name] + values[start : start + weight.numel()]
                assert torch.equal(weight, expected), name
                start += weight.numel()
            else:
                assert torch.equal(weight, before[name]), name
    assert start == len(values)
    assert all(torch.equal(weight, before[name]) for name, weight in base.model.named_parameters())


def test_its_gradient_is_that_of_the_biases():
    base = make_base()
    graft = make_graft(base, "b", [BitFit()])
    layers = find_edit(graft, BitFitLayers)
    with attach(base, "b", grafts=[graft]) as attachment:
        hidden = attachment.run(*make_batch())
        (hidden * torch.linspace(-1, 1, hidden.numel()).view_as(hidden)).sum().backward()
    biases = [base.model.get_parameter(name) for name in layers.names]
    for bias in biases:
        bias.requires_grad_(True)
    with attach(base, None) as attachment:
        hidden = attachment.run(*make_batch())
        (hidden * torch.linspace(-1, 1, hidden.numel()).view_as(hidden)).sum().backward()
    expected = torch.cat([bias.grad for bias in biases])
    assert (layers.values.grad - expected).abs().max() < 1e-5 * expected.abs().max()


def test_two_add_up():
    base = make_base()
    grafts = [make_trained_graft(base, name, [BitFit()], seed=seed) for seed, name in enumerate("ab")]
    both = make_graft(base, "both", [BitFit()])
    with torch.no_grad():
        values = [find_edit(graft, BitFitLayers).values for graft in grafts]
        find_edit(both, BitFitLayers).values.copy_(sum(values))
    difference = run(base, "stack(a, b)", grafts) - run(base, "both", [both])
    assert difference.abs().max() < 1e-5


NORMS_INSTEAD = (
    "and the base has no biases. Expected weights that it has: those of its norms can learn in the place of biases. "
    """Ask for them with --option 'weights=["norm"]' on the command line (--option 'bitfit.weights=["norm"]' beside """
    """other parts), or with weights = ["norm"] among the part's options in a recipe."""
)


@pytest.mark.parametrize("family", ["modernbert", "eurobert", "llama"])
def test_a_family_without_biases_says_so_and_has_norms(family: str):
    base = make_base(family)
    with pytest.raises(OptionError) as refusal:
        make_graft(base, "b", [BitFit()])
    assert str(refusal.value) == (f"The part 'bitfit' asks for the weights '*.bias', {NORMS_INSTEAD}")
    layers = find_edit(make_graft(base, "b", [BitFit(weights=("norm",))]), BitFitLayers)
    names = [name for name, _ in base.model.named_parameters()]
    assert layers.names == [name for name in names if "norm" in name]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"skip_layers": [7]},
            "The part 'bitfit' has skip_layers with 7, and the base has 3 layers. Expected -3 to 2. Correct the "
            "number.",
        ),
        (
            {"weights": "*.bias"},
            "The part 'bitfit' has weights='*.bias'. Expected a value of the type tuple[str, ...]. Correct it.",
        ),
        (
            {"weights": []},
            "The part 'bitfit' has no weights, so it would change nothing. Expected roles or patterns of names, such "
            "as '*.bias'. Name at least one.",
        ),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, object], message: str):
    with pytest.raises(OptionError) as refusal:
        make_graft(make_base(), "b", [BitFit.from_options(options)])
    assert str(refusal.value) == message
