from __future__ import annotations

import pytest
import torch

from polygraft.errors import OptionError
from polygraft.parts.compacter import Compacter, CompacterLayers, KroneckerLinear
from polygraft.parts.part import Dimensions
from polygraft.parts.reach import SublayerState

SIZES = Dimensions(num_layers=3, hidden=8, embedding=8, vocab=20)


def build(*, trained: bool = True, **options: object) -> CompacterLayers:
    part = Compacter.from_options({"reduction": 2, "terms": 2, **options})
    generator = torch.Generator().manual_seed(0)
    layers = part.build(SIZES, generator=generator)
    if trained:
        for parameter in layers.parameters():
            parameter.data.normal_(generator=generator)
    return layers


def make_state() -> SublayerState:
    h, origin, inp = torch.randn(3, 2, 5, 8, generator=torch.Generator().manual_seed(1))
    return SublayerState(h=h, origin=origin, inp=inp, norm=lambda x: x * 0.5)


def multiply(linear: KroneckerLinear, rule: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The paper's sum, product by product."""
    small = linear.full if linear.full is not None else linear.left @ linear.right
    weight = sum(torch.kron(large, each) for large, each in zip(rule, small, strict=True))
    return x @ weight + linear.bias


@pytest.mark.parametrize("placement", ["attention+ffn", "ffn"])
def test_a_fresh_one_changes_nothing(placement: str):
    state = make_state()
    layers = build(placement=placement, trained=False)
    assert torch.equal(layers.correct((0, "ffn"), state), state.h)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("rank", [1, 3, None])
@pytest.mark.parametrize("placement", ["attention+ffn", "ffn"])
@torch.no_grad()
def test_each_projection_is_a_sum_of_kronecker_products(placement: str, rank: int | None, shared: bool):
    layers, state = build(placement=placement, rank=rank, shared=shared, activation="relu"), make_state()
    row = layers.layers["1"]["ffn"]
    down, up = (layers.rule, layers.rule) if shared else (row.down.rule, row.up.rule)
    x = state.h if placement == "attention+ffn" else state.norm(state.h + state.inp)
    expected = multiply(row.up, up, multiply(row.down, down, x).clamp(min=0)) + state.h
    assert (layers.correct((1, "ffn"), state) - expected).abs().max() < 1e-4
    assert (expected - state.h).abs().max() > 1


def test_its_tensors_are_these():
    assert {name: list(value.shape) for name, value in build(skip_layers=[0, 1]).named_parameters()} == {
        "rule": [2, 2, 2],
        **{
            f"layers.2.{sublayer}.{name}": shape
            for sublayer in ("attention", "ffn")
            for name, shape in {
                "down.left": [2, 4, 1],
                "down.right": [2, 1, 2],
                "down.bias": [4],
                "up.left": [2, 2, 1],
                "up.right": [2, 1, 4],
                "up.bias": [8],
            }.items()
        },
    }
    assert "layers.0.ffn.down.full" in dict(build(rank=None).named_parameters())
    assert "layers.0.ffn.up.rule" in dict(build(shared=False).named_parameters())


def test_a_fresh_down_projection_has_the_spread_of_a_linear_layer():
    part = Compacter(reduction=2, terms=4, rank=1)
    sizes = Dimensions(num_layers=1, hidden=1024, embedding=8, vocab=20)
    layers = part.build(sizes, generator=torch.Generator().manual_seed(0))
    x = torch.eye(1024)
    spread = layers.layers["0"]["ffn"].down(x, layers.rule).std()
    assert 0.5 < spread * (3 * 1024) ** 0.5 < 2


def test_the_places_are_listed_from_below():
    assert build(skip_layers=[0, -1]).list_places() == [(1, "attention"), (1, "ffn")]
    assert build(placement="ffn", skip_layers=[1]).list_places() == [(0, "ffn"), (2, "ffn")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"placement": "parallel"},
            "The part 'compacter' has placement='parallel'. Expected one of attention+ffn, ffn. Choose one.",
        ),
        (
            {"terms": 3},
            "The part 'compacter' has terms=3 and reduction=2, on a base whose hidden size is 8, so the width is 4. "
            "Expected terms to divide both sizes. Choose another number of terms, or another reduction.",
        ),
        (
            {"reduction": 8},
            "The part 'compacter' has terms=2 and reduction=8, on a base whose hidden size is 8, so the width is 1. "
            "Expected terms to divide both sizes. Choose another number of terms, or another reduction.",
        ),
        (
            {"terms": 0},
            "The part 'compacter' has terms=0. Expected a whole number from 1 to 64. Correct it.",
        ),
        (
            {"rank": 10**9},
            "The part 'compacter' has rank=1000000000. Expected a whole number from 1 to 4096. Correct it.",
        ),
        (
            {"skip_layers": [3]},
            "The part 'compacter' has skip_layers with 3, and the base has 3 layers. Expected -3 to 2. Correct the "
            "number.",
        ),
        (
            {"reduction": 9},
            "The part 'compacter' has reduction=9, which leaves no width of a size of 8. Expected a number from 0.125 "
            "to 8. Choose a smaller reduction.",
        ),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, object], message: str):
    with pytest.raises(OptionError) as refusal:
        build(**options)
    assert str(refusal.value) == message
