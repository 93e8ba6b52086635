"""Linear layers with packed weights: the numbers of plain ones, whatever happens to the weight."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from tests.base.conftest import WriteFolder
from tests.tiny import BASES, make_base, make_batch, make_model
from torch import Tensor, nn
from torch.nn import functional

from polygraft.base.int8 import multiplies_int8
from polygraft.base.load import load_base
from polygraft.base.packed import PackedLinear, gains_by_packing, multiplies_packed, pack_linear_layers

CPU = torch.device("cpu")
needs_units = pytest.mark.skipif(
    not multiplies_packed(CPU), reason="Only processors with AVX-512 multiply packed weights."
)
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make_layer(
    *, has_bias: bool = True, dtype: torch.dtype = torch.float32
) -> tuple[PackedLinear, nn.Linear]:
    """A packed layer, and a plain one with the same values."""
    plain = nn.Linear(48, 20, bias=has_bias).to(dtype).requires_grad_(False)
    return PackedLinear(copy.deepcopy(plain)), plain


def differentiate(layer: nn.Module, x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(grad)
    return y.detach(), x.grad


@needs_units
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("shape", [(48,), (1, 48), (37, 48), (3, 5, 48), (0, 48)])
def test_output_and_gradient_are_those_of_a_plain_layer(
    shape: tuple[int, ...], has_bias: bool, dtype: torch.dtype
):
    layer, plain = make_layer(has_bias=has_bias, dtype=dtype)
    x, grad = draw(*shape).to(dtype), draw(*shape[:-1], 20, seed=1).to(dtype)
    found, expected = differentiate(layer, x, grad), differentiate(plain, x, grad)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours, theirs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.equal(layer(x), found[0])


@needs_units
def test_rows_that_do_not_lie_side_by_side_are_multiplied_as_they_are():
    layer, plain = make_layer()
    x, grad = draw(48, 7).T, draw(20, 7, seed=1).T
    for ours, theirs in zip(differentiate(layer, x, grad), differentiate(plain, x, grad), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@needs_units
@pytest.mark.parametrize("change", ["in place", "another tensor", "other data"])
def test_a_weight_that_changes_is_packed_anew(change: str):
    layer, plain = make_layer()
    x, grad = draw(5, 48), draw(5, 20, seed=1)
    differentiate(layer, x, grad)
    new = draw(20, 48, seed=2)
    for each in (layer, plain):
        with torch.no_grad():
            if change == "in place":
                each.weight.copy_(new)
            elif change == "another tensor":
                each.weight = nn.Parameter(new.clone(), requires_grad=False)
            else:
                each.weight.data = new.clone()
    for ours, theirs in zip(differentiate(layer, x, grad), differentiate(plain, x, grad), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@needs_units
def test_a_layer_that_is_not_frozen_learns():
    layer, plain = make_layer()
    x, grad = draw(5, 48), draw(5, 20, seed=1)
    differentiate(layer, x, grad)
    for each in (layer, plain):
        each.requires_grad_(True)
    found, expected = differentiate(layer, x, grad), differentiate(plain, x, grad)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(layer.weight.grad, plain.weight.grad)
    assert torch.equal(layer.bias.grad, plain.bias.grad)


@needs_units
def test_autocast_has_its_way():
    layer, plain = make_layer()
    x = draw(5, 48)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(x)
        assert found.dtype == torch.bfloat16
        assert torch.equal(found, plain(x))


@needs_units
def test_a_copy_has_a_weight_of_its_own():
    layer, _ = make_layer()
    x = draw(5, 48)
    before = layer(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x), before)
        with torch.no_grad():
            other.weight.zero_()
        torch.testing.assert_close(other(x), other.bias.expand(5, 20))
    assert torch.equal(layer(x), before)


@needs_units
@pytest.mark.parametrize("name", BASES)
def test_a_base_gives_the_hidden_states_and_gradients_of_the_plain_model(name: str):
    base, plain = make_base(name), make_model(name).base_model.eval()
    pack_linear_layers(base.model)
    assert any(isinstance(layer, PackedLinear) for layer in base.model.modules())
    assert not any(type(layer) is nn.Linear for layer in base.model.modules())
    assert list(base.model.state_dict()) == list(plain.state_dict())
    assert base.compute_fingerprint() == base.fingerprint
    gradients: list[Tensor] = []
    for model in (base.model, plain):
        words = functional.embedding(make_batch().input_ids, model.get_input_embeddings().weight.detach())
        words = words.clone().requires_grad_()
        hidden = model(inputs_embeds=words, attention_mask=make_batch().attention_mask).last_hidden_state
        hidden.square().sum().backward()
        gradients += [hidden.detach(), words.grad]
    torch.testing.assert_close(gradients[0], gradients[2], rtol=1e-4, atol=1e-5)
    # Those of tiny decoders are up to a million.
    size = max(1.0, float(gradients[3].abs().max()))
    torch.testing.assert_close(gradients[1] / size, gradients[3] / size, rtol=1e-3, atol=1e-5)


def test_layers_of_another_class_are_left_alone():
    class Own(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(4, 4), Own(4, 4), nn.Sequential(nn.Linear(4, 4, bias=False)))
    weights = [weight.data_ptr() for weight in model.parameters()]
    pack_linear_layers(model.requires_grad_(False))
    assert [type(layer) for layer in model.modules() if isinstance(layer, nn.Linear)] == [
        PackedLinear,
        Own,
        PackedLinear,
    ]
    assert [weight.data_ptr() for weight in model.parameters()] == weights


@pytest.mark.parametrize(
    ("processor", "can", "gains"),
    [
        ({"avx512_f": True, "cpu_name": "AMD EPYC"}, True, {torch.float32: True, torch.bfloat16: True}),
        ({"avx512_f": True, "cpu_name": "Intel Xeon"}, True, {torch.float32: False, torch.bfloat16: True}),
        ({"avx512_f": True}, True, {torch.float32: True}),
        ({"avx2": True}, False, {torch.float32: False, torch.bfloat16: False}),
    ],
    ids=["AMD", "Intel", "unknown", "without units"],
)
def test_processors_that_gain_nothing_multiply_as_they_always_did(
    monkeypatch: pytest.MonkeyPatch,
    write_folder: WriteFolder,
    processor: dict[str, object],
    can: bool,
    gains: dict[torch.dtype, bool],
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: processor)
    is_there = torch.backends.mkldnn.is_available()
    assert multiplies_packed(CPU) == (can and is_there)
    assert not multiplies_packed(torch.device("cuda"))
    assert not multiplies_int8(CPU)
    folder = str(write_folder())
    for dtype, expected in gains.items():
        assert not gains_by_packing(torch.device("cuda"), dtype)
        base = load_base(folder, device="cpu", dtype=str(dtype).removeprefix("torch."))
        is_packed = any(isinstance(layer, PackedLinear) for layer in base.model.modules())
        assert is_packed == gains_by_packing(CPU, dtype) == (expected and is_there)
