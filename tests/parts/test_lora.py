from __future__ import annotations

import math

import pytest
import torch
from tests.tiny import make_base

from polygraft.attach.graft import make_graft
from polygraft.errors import OptionError
from polygraft.parts.lora import Lora, LoraLayers
from polygraft.parts.part import Dimensions
from polygraft.parts.reach import LinearWeights, ProjectionState
from polygraft.types import ProjectionInfo

ROLES = {"query": (8, 8), "key": (8, 8), "value": (8, 8), "output": (8, 8), "up": (12, 8), "down": (8, 12)}
SIZES = Dimensions(
    num_layers=3,
    hidden=8,
    embedding=8,
    vocab=20,
    projections=tuple(
        ProjectionInfo(layer=layer, role=role, rows=rows, columns=columns)
        for layer in range(3)
        for role, (rows, columns) in ROLES.items()
    ),
)
PLACE = (1, "query")


def build(**options: object) -> LoraLayers:
    part = Lora.from_options({"rank": 2, **options})
    return part.build(SIZES, generator=torch.Generator().manual_seed(0))


def train(layers: LoraLayers) -> LoraLayers:
    """Set values of another size than fresh ones, in float64."""
    layers.double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for values in layers.parameters():
            values.copy_(torch.randn(values.shape, generator=generator, dtype=torch.float64))
    return layers


def make_state(*, has_bias: bool = True, dtype: torch.dtype = torch.float64) -> ProjectionState:
    generator = torch.Generator().manual_seed(1)
    x, weight, bias = (
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        for shape in ((2, 5, 8), (8, 8), (8,))
    )
    own_bias = bias if has_bias else None
    y = x @ weight.T + bias if has_bias else x @ weight.T
    return ProjectionState(x=x, y=y, weight=weight, bias=own_bias)


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_fresh_one_changes_nothing(dora: bool, dtype: torch.dtype):
    state = make_state(dtype=dtype)
    assert torch.equal(build(dora=dora).change_output(PLACE, state), state.y)


@pytest.mark.parametrize(
    ("options", "scale"), [({}, 4.0), ({"alpha": 3}, 1.5), ({"rslora": True}, 8 / math.sqrt(2))]
)
def test_it_adds_the_product_of_its_matrices_times_alpha_over_the_rank(
    options: dict[str, object], scale: float
):
    layers, state = train(build(**options)), make_state()
    layer = layers.find_layer(PLACE)
    expected = state.x @ (state.weight + scale * layer.B @ layer.A).T + state.bias
    assert layers.options.scale == pytest.approx(scale)
    assert (layers.change_output(PLACE, state) - expected).abs().max() < 1e-12


@pytest.mark.parametrize("has_bias", [True, False])
def test_dora_stretches_each_row_of_the_changed_weight_to_a_length_of_its_own(has_bias: bool):
    layers, state = train(build(dora=True)), make_state(has_bias=has_bias)
    layer = layers.find_layer(PLACE)
    changed = state.weight + 4 * layer.B @ layer.A
    length = state.weight.norm(dim=1) + layer.magnitude
    expected = state.x @ (length / changed.norm(dim=1) * changed.T)
    expected = expected + state.bias if has_bias else expected
    assert (layers.change_output(PLACE, state) - expected).abs().max() < 1e-12


def test_the_length_under_the_line_is_a_constant_in_gradients():
    layers, state = train(build(dora=True)), make_state(has_bias=False)
    layer = layers.find_layer(PLACE)
    layers.change_output(PLACE, state).square().sum().backward()
    own = [layer.A, layer.B, layer.magnitude]
    a, b, magnitude = (values.detach().clone().requires_grad_() for values in own)
    changed = state.weight + 4 * b @ a
    factor = (state.weight.norm(dim=1) + magnitude) / changed.norm(dim=1).detach()
    (state.x @ (factor[:, None] * changed).T).square().sum().backward()
    for values, expected in zip(own, (a, b, magnitude), strict=True):
        assert (values.grad - expected.grad).abs().max() < 1e-10 * expected.grad.abs().max()


def test_a_row_of_zeros_stays_one_and_gives_numbers():
    state = make_state()
    state.weight[3] = 0
    state.y.copy_(state.x @ state.weight.T + state.bias)
    layers = build(dora=True).double()
    given = layers.change_output(PLACE, state)
    given.sum().backward()
    assert torch.equal(given, state.y)
    assert all(values.grad.isfinite().all() for values in layers.find_layer(PLACE).parameters())


def test_lengths_are_measured_anew_only_when_a_value_has_changed(monkeypatch: pytest.MonkeyPatch):
    layers, state = train(build(dora=True)), make_state()
    layer = layers.find_layer(PLACE)
    measured: list[torch.Tensor] = []
    measure = type(layer)._measure
    monkeypatch.setattr(
        type(layer), "_measure", lambda own, weight: measured.append(weight) or measure(own, weight)
    )
    # What is kept from inference must serve training.
    with torch.inference_mode():
        first = layers.change_output(PLACE, state)
    layers.change_output(PLACE, state).sum().backward()
    assert len(measured) == 1
    for values in (layer.A, layer.B, state.weight):
        with torch.no_grad():
            values.mul_(1.5)
        second = layers.change_output(PLACE, state)
        assert (second - first).abs().max() > 1e-3
        first = second
    assert len(measured) == 4
    with torch.no_grad():
        layer.magnitude.mul_(1.5)
    assert (layers.change_output(PLACE, state) - first).abs().max() > 1e-3
    assert len(measured) == 4
    layers.float()
    assert layers.change_output(PLACE, make_state(dtype=torch.float32)).dtype == torch.float32
    assert len(measured) == 5


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("dora", [True, False])
def test_merged_weights_do_the_same(dora: bool, has_bias: bool):
    layers, state = train(build(dora=dora)), make_state(has_bias=has_bias)
    own = LinearWeights(weight=state.weight, bias=state.bias)
    merged = layers.merge(PLACE, own, own=own)
    given = state.x @ merged.weight.T + (0 if merged.bias is None else merged.bias)
    assert (given - layers.change_output(PLACE, state)).abs().max() < 1e-12
    assert (merged.bias is None) is not has_bias


def test_merging_over_what_a_graft_below_made_does_the_same():
    layers, state = train(build(dora=True)), make_state()
    own = LinearWeights(weight=state.weight, bias=state.bias)
    below = LinearWeights(weight=own.weight * 2 + 0.25, bias=own.bias - 1)
    y = state.x @ below.weight.T + below.bias
    stacked = ProjectionState(x=state.x, y=y, weight=own.weight, bias=own.bias)
    merged = layers.merge(PLACE, below, own=own)
    given = state.x @ merged.weight.T + merged.bias
    assert (given - layers.change_output(PLACE, stacked)).abs().max() < 1e-12


def test_its_values_serve_a_base_in_bfloat16():
    state, layers = make_state(dtype=torch.bfloat16), build(dora=True)
    with torch.no_grad():
        layers.find_layer(PLACE).B.normal_(generator=torch.Generator().manual_seed(3))
    given = layers.change_output(PLACE, state)
    exact = ProjectionState(
        x=state.x.float(), y=state.y.float(), weight=state.weight.float(), bias=state.bias.float()
    )
    expected = layers.change_output(PLACE, exact)
    assert given.dtype == torch.bfloat16
    assert (given - expected).abs().max() < 0.02 * expected.abs().max()


def test_a_fresh_a_is_drawn_as_in_the_code_of_the_paper():
    layers = Lora(rank=8, roles=("down",)).build(SIZES, generator=torch.Generator().manual_seed(0))
    values = torch.cat([layers.find_layer((layer, "down")).A.flatten() for layer in range(3)])
    bound = 1 / math.sqrt(12)
    assert values.abs().max() <= bound and values.abs().max() > 0.98 * bound
    assert values.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert all(layers.find_layer((layer, "down")).B.abs().max() == 0 for layer in range(3))


def test_the_maps_are_listed_from_below_and_have_tensors_of_their_sizes():
    layers = build(roles=["down", "query"], skip_layers=[0])
    assert layers.list_outputs() == [(1, "query"), (1, "down"), (2, "query"), (2, "down")]
    assert layers.list_inputs() == []
    assert {name: tuple(values.shape) for name, values in layers.state_dict().items()} == {
        f"layers.{layer}.{role}.{matrix}": shape
        for layer in (1, 2)
        for role, columns in (("query", 8), ("down", 12))
        for matrix, shape in (("A", (2, columns)), ("B", (8, 2)))
    }


def test_the_same_generator_gives_the_same_tensors():
    first, second = build(dora=True).state_dict(), build(dora=True).state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "The part 'lora' has rank=0. Expected 1 or more. Correct it; 4, 8 and 16 are common."),
        (
            {"rank": 65},
            "The part 'lora' has rank=65, and its map 'query' has 8 rows and 8 columns. Expected 1 to 64; above 8 "
            "nothing is gained. Choose a smaller rank.",
        ),
        (
            {"alpha": 0.0},
            "The part 'lora' has alpha=0. Expected a number above 0. Correct it; the rank, or twice that, is common.",
        ),
        (
            {"alpha": float("nan")},
            "The part 'lora' has alpha=nan. Expected a value of the type float. Correct it.",
        ),
        (
            {"roles": []},
            "The part 'lora' has no roles, so it would change nothing. Expected the roles of linear layers, such as "
            "query and value. Name at least one.",
        ),
        (
            {"roles": ["query", "gate"]},
            "The part 'lora' has roles with 'gate', and the base has no linear layer of that role. Expected some of "
            "query, key, value, output, up, down. Correct it.",
        ),
        (
            {"roles": ["vlaue"]},
            "The part 'lora' has roles with 'vlaue', which is no role of a linear layer. Expected some of query, key, "
            "value, output, up, gate, down. Did you mean 'value'? Correct it.",
        ),
        (
            {"roles": ["key", "value", "key"]},
            "The part 'lora' has roles with 'key' twice. Expected each role once. Leave one out.",
        ),
        (
            {"skip_layers": [3]},
            "The part 'lora' has skip_layers with 3, and the base has 3 layers. Expected -3 to 2. Correct the number.",
        ),
        (
            {"dora": 1},
            "The part 'lora' has dora=1. Expected a value of the type bool. Correct it.",
        ),
        (
            {"rnak": 1},
            "The part 'lora' has no option 'rnak'. Its options are rank, alpha, roles, skip_layers, rslora, dora. Did "
            "you mean 'rank'? Correct the name.",
        ),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, object], message: str):
    with pytest.raises(OptionError) as refusal:
        build(**options)
    assert str(refusal.value) == message


def test_an_infinite_alpha_is_refused():
    with pytest.raises(OptionError) as refusal:
        Lora(alpha=math.inf)
    assert str(refusal.value) == (
        "The part 'lora' has alpha=inf. Expected a number above 0. Correct it; the rank, or twice that, is common."
    )


def test_a_family_says_which_roles_it_has():
    with pytest.raises(OptionError) as refusal:
        make_graft(make_base("distilbert"), "l", [Lora(roles=("gate",))])
    assert str(refusal.value) == (
        "The part 'lora' has roles with 'gate', and the base has no linear layer of that role. Expected some of "
        "query, key, value, output, up, down. Correct it."
    )
    assert make_graft(make_base("modernbert"), "l", [Lora(roles=("gate",))]).num_parameters > 0
