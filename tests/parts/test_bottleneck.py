from __future__ import annotations

import pytest
import torch

from polygraft.errors import OptionError
from polygraft.parts.bottleneck import Bottleneck, BottleneckLayer, BottleneckLayers, SublayerState
from polygraft.parts.part import Dimensions

SIZES = Dimensions(num_layers=4, hidden=8, embedding=8, vocab=20)


def build(**options: object) -> BottleneckLayers:
    part = Bottleneck.from_options({"reduction": 2, **options})
    return part.build(SIZES, generator=torch.Generator().manual_seed(0))


def make_state() -> SublayerState:
    h, origin, inp = torch.randn(3, 2, 5, 8, generator=torch.Generator().manual_seed(1))
    return SublayerState(h=h, origin=origin, inp=inp, norm=lambda x: x * 0.5)


@pytest.mark.parametrize("placement", ["ffn", "attention+ffn", "parallel"])
def test_a_fresh_bottleneck_changes_nothing(placement: str):
    state = make_state()
    assert torch.equal(build(placement=placement).correct((0, "ffn"), state), state.h)


def test_a_fresh_one_in_the_style_of_bert_changes_a_little():
    layers = build(init="bert")
    down = layers.layers["0"]["ffn"].down
    assert 0.01 < down.weight.std() < 0.03
    assert down.bias.abs().max() == 0
    state = make_state()
    assert 0 < (layers.correct((0, "ffn"), state) - state.h).abs().max() < 0.1


@pytest.mark.parametrize(
    ("placement", "x", "scale"),
    [
        ("ffn", lambda state: state.norm(state.h + state.inp), 1),
        ("attention+ffn", lambda state: state.h, 1),
        ("parallel", lambda state: state.inp, 4),
    ],
)
def test_each_placement_reads_its_own_input(placement: str, x, scale: int):
    layers, state = build(placement=placement, init="bert"), make_state()
    bottleneck = layers.layers["1"]["ffn"]
    middle = (x(state) @ bottleneck.down.weight.T + bottleneck.down.bias).clamp(min=0)
    expected = scale * (middle @ bottleneck.up.weight.T + bottleneck.up.bias) + state.h
    assert (layers.correct((1, "ffn"), state) - expected).abs().max() < 1e-6


def test_in_the_paper_s_semantics_the_residual_is_the_sublayer_s_own_output():
    state = make_state()
    assert torch.equal(build(semantics="paper").correct((0, "ffn"), state), state.origin)


@torch.no_grad()
def test_a_learned_scale_is_one_number_for_each_place_and_starts_at_one():
    layers, state = build(scaling="learned", placement="parallel", init="bert"), make_state()
    fixed = build(scaling=1.0, placement="parallel", init="bert")
    fixed_names = {name for name, _ in fixed.named_parameters()}
    added = {name: value.tolist() for name, value in layers.named_parameters() if name not in fixed_names}
    assert added == {f"layers.{layer}.ffn.scale": [1.0] for layer in range(4)}
    assert torch.equal(layers.correct((1, "ffn"), state), fixed.correct((1, "ffn"), state))
    correction = fixed.correct((1, "ffn"), state) - state.h
    layers.layers["1"]["ffn"].scale.fill_(-3.0)
    assert (layers.correct((1, "ffn"), state) - state.h + 3 * correction).abs().max() < 1e-6


def test_the_places_are_listed_from_below():
    assert build(skip_layers=[0, -1]).list_places() == [(1, "ffn"), (2, "ffn")]
    assert build(placement="attention+ffn", skip_layers=[1, 2, 3]).list_places() == [
        (0, "attention"),
        (0, "ffn"),
    ]


def test_the_width_is_the_hidden_size_over_the_reduction_rounded_down():
    assert build(reduction=3).layers["0"]["ffn"].down.weight.shape == (2, 8)
    assert build(reduction=0.5).layers["0"]["ffn"].down.weight.shape == (16, 8)


def test_the_same_generator_gives_the_same_tensors():
    first, second = build().state_dict(), build().state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert isinstance(build().layers["0"]["ffn"], BottleneckLayer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"placement": "fnf"},
            "The part 'bottleneck' has placement='fnf'. Expected one of ffn, attention+ffn, parallel. "
            "Did you mean 'ffn'? Choose one.",
        ),
        (
            {"semantics": "pape"},
            "The part 'bottleneck' has semantics='pape'. Expected one of adapterhub, paper. "
            "Did you mean 'paper'? Choose one.",
        ),
        (
            {"scaling": "lerned"},
            "The part 'bottleneck' has scaling='lerned'. Expected one of learned. Did you mean 'learned'? Choose one.",
        ),
        (
            {"init": "zero"},
            "The part 'bottleneck' has init='zero'. Expected one of identity, bert. Choose one.",
        ),
        (
            {"activation": "gleu"},
            "There is no activation 'gleu'. Known are relu, gelu, gelu_new, swish, tanh, leakyrelu, sigmoid, linear. "
            "Did you mean 'gelu'? Choose one.",
        ),
        (
            {"reduction": 9},
            "The part 'bottleneck' has reduction=9, which leaves no width of a size of 8. Expected a number from 0.125 "
            "to 8. Choose a smaller reduction.",
        ),
        (
            {"reduction": -2},
            "The part 'bottleneck' has reduction=-2, which makes no width. Expected a number from 0.125 to the size "
            "of what it reads. Choose a larger reduction.",
        ),
        (
            {"reduction": 1e-8},
            "The part 'bottleneck' has reduction=1e-08, which makes a width of more than 8 times what it reads. "
            "Expected a number from 0.125 to the size of what it reads. Choose a larger reduction.",
        ),
        (
            {"reduction": 5e-324},
            "The part 'bottleneck' has reduction=4.94066e-324, which makes a width of more than 8 times what it "
            "reads. Expected a number from 0.125 to the size of what it reads. Choose a larger reduction.",
        ),
        (
            {"skip_layers": [4]},
            "The part 'bottleneck' has skip_layers with 4, and the base has 4 layers. Expected -4 to 3. Correct the "
            "number.",
        ),
        (
            {"skip_layers": [0, 1, 2, -1]},
            "The part 'bottleneck' skips all 4 layers of the base, so it would do nothing. Leave at least one layer "
            "out of skip_layers.",
        ),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, object], message: str):
    with pytest.raises(OptionError) as refusal:
        build(**options)
    assert str(refusal.value) == message
