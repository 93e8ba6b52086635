"""Linear layers in int8: the numbers against integers multiplied by hand, and a base that stays what it is."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.base.conftest import WriteFolder
from tests.tiny import BASES, make_base, make_batch, make_model, make_tokenizer, make_trained_graft
from tests.train.material import make_training
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from polygraft.attach.attach import attach
from polygraft.base.base import Base
from polygraft.base.int8 import (
    ROWS_AT_ONCE,
    multiplies_int8,
    multiply_int8,
    quantise_weight,
    set_int8_forward,
)
from polygraft.base.load import freeze_base, load_base
from polygraft.errors import BaseModelError
from polygraft.parts.bottleneck import Bottleneck

CPU = torch.device("cpu")
needs_units = pytest.mark.skipif(
    not multiplies_int8(CPU), reason="Without these units oneDNN's sums of int8 products can overflow."
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Values of which every tenth is twenty times as large, as hidden states are."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    values.flatten()[::10] *= 20
    return values


def multiply_slowly(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The product [N, M] in float64 from integers in int64, an output at a time."""
    found = torch.zeros(len(x), len(weight), dtype=torch.float64)
    for n, row in enumerate(x):
        middle = (row.min() + row.max()) / 2
        reach = max(row.max() - middle, middle - row.min())
        values = ((row - middle) * (127 / reach)).round().long()
        for m, column in enumerate(weight):
            largest = column.abs().max()
            whole = (column * (127 / largest)).round().long()
            step = largest.double() / 127
            found[n, m] = step * (reach.double() / 127 * (values @ whole) + middle.double() * whole.sum())
    return found if bias is None else found + bias.double()


def make_int8_base(name: str) -> Base:
    return freeze_base(
        name=name, model=make_model(name).base_model, tokenizer=make_tokenizer(), dtype=torch.int8
    )


@needs_units
@pytest.mark.parametrize("num_rows", [1, 37, ROWS_AT_ONCE + 3])
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_product_is_that_of_integers_multiplied_by_hand(num_rows: int, has_bias: bool):
    x, weight = draw(num_rows, 48), draw(20, 48, seed=1)
    bias = draw(20, seed=2) if has_bias else None
    found = multiply_int8(x, quantise_weight(weight), bias)
    assert found.dtype == torch.float32
    # A number that is rounded to its neighbour moves an output by 100 times as much.
    torch.testing.assert_close(found.double(), multiply_slowly(x, weight, bias), rtol=1e-6, atol=1e-3)


@needs_units
def test_sums_of_the_largest_products_do_not_overflow():
    x = torch.tensor([[3.0, -3.0], [-3.0, 3.0]]).repeat_interleave(2048, 1)
    weight = torch.tensor([[0.5, -0.5], [-0.5, 0.5]]).repeat_interleave(2048, 1)
    found = multiply_int8(x, quantise_weight(weight), None)
    torch.testing.assert_close(found, torch.tensor([[6144.0, -6144.0], [-6144.0, 6144.0]]), rtol=1e-6, atol=0)


@needs_units
@pytest.mark.parametrize("shift", [0, 50])
def test_a_product_is_as_near_to_the_one_in_float32_as_half_a_step_of_each_factor_allows(shift: float):
    x, weight, bias = draw(64, 48) + shift, draw(20, 48, seed=1), draw(20, seed=2)
    half_x = (x.amax(1, keepdim=True) - x.amin(1, keepdim=True)) / 508
    half_w = weight.abs().amax(1, keepdim=True) / 254
    most = x.abs().sum(1, keepdim=True) * half_w.T + half_x * weight.abs().sum(1) + 48 * half_x * half_w.T
    error = (multiply_int8(x, quantise_weight(weight), bias) - functional.linear(x, weight, bias)).abs()
    assert bool((error <= most).all())
    assert float(error.max()) > 0


@needs_units
def test_a_row_is_the_same_whatever_the_other_rows_are():
    x, weight, bias = draw(600, 48), quantise_weight(draw(20, 48, seed=1)), draw(20, seed=2)
    together = multiply_int8(x, weight, bias)
    for row in (0, 3, 599):
        assert torch.equal(together[row], multiply_int8(x[row : row + 1], weight, bias)[0])


@needs_units
def test_rows_and_columns_of_zeros_give_the_bias_and_what_is_no_number_stays_none():
    x, weight, bias = draw(4, 8), draw(3, 8, seed=1), draw(3, seed=2)
    x[1], weight[2], x[3, 5] = 0, 0, torch.nan
    found = multiply_int8(x, quantise_weight(weight), bias)
    assert torch.equal(found[1], bias)
    assert torch.equal(found[:3, 2], bias[2].expand(3))
    assert bool(found[3].isnan().all())
    assert bool(found[:3].isfinite().all())


@needs_units
def test_the_gradient_is_that_of_the_float32_weights_to_the_bit():
    layer = nn.Linear(48, 20).requires_grad_(False)
    set_int8_forward(layer)
    x = draw(2, 7, 48).requires_grad_()
    grad = draw(2, 7, 20, seed=3)
    y = layer(x)
    y.backward(grad)
    assert y.shape == (2, 7, 20)
    assert torch.equal(y[1], multiply_int8(x[1].detach(), quantise_weight(layer.weight), layer.bias))
    assert torch.equal(x.grad, grad @ layer.weight)


@needs_units
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("is_outside", [True, False])
def test_inside_autocast_only_what_a_layer_gives_is_rounded(dtype: torch.dtype, is_outside: bool):
    layer = nn.Linear(48, 20).requires_grad_(False)
    set_int8_forward(layer)
    x, grad = draw(2, 7, 48).to(dtype), draw(2, 7, 20, seed=3).to(dtype)
    exact, rounded = x.float().requires_grad_(), x.clone().requires_grad_()
    expected = layer(exact)
    expected.backward(grad.float())
    with torch.autocast("cpu", dtype=dtype):
        y = layer(rounded)
        if not is_outside:
            y.backward(grad)
    if is_outside:
        y.backward(grad)
    assert (y.dtype, rounded.grad.dtype) == (dtype, dtype)
    assert torch.equal(y, expected.to(dtype))
    assert torch.equal(rounded.grad, exact.grad.to(dtype))


@needs_units
@pytest.mark.parametrize(("precision", "recompute"), [("bfloat16", False), ("float16", True)])
def test_a_graft_is_trained_over_int8_with_rounded_products(precision: str, recompute: bool):
    exact, rounded = (
        make_training(base=make_int8_base("bert"), precision=kind, recompute=recompute, steps=5)
        for kind in (None, precision)
    )
    expected, found = (torch.tensor([step.loss for step in each.run()]) for each in (exact, rounded))
    # Losses between 1.1 and 0.7 nats, of products rounded by up to a part in 2^9 or in 2^12.
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)
    assert not torch.equal(found, expected)


@needs_units
@pytest.mark.parametrize("name", BASES)
def test_every_linear_layer_of_a_base_and_nothing_else_is_in_int8(name: str):
    base = make_int8_base(name)
    changed = {layer for layer in base.model.modules() if "forward" in vars(layer)}
    assert changed == {layer for layer in base.model.modules() if isinstance(layer, nn.Linear)}
    batch = make_batch()._asdict()
    found, expected = (other.model(**batch).last_hidden_state for other in (base, make_base(name)))
    error = float((found - expected).norm() / expected.norm())
    assert 0 < error < 0.1


@needs_units
@pytest.mark.parametrize("name", BASES)
def test_a_base_in_int8_keeps_its_weights_classes_and_fingerprint(name: str):
    base, exact = make_int8_base(name), make_base(name)
    assert [(key, type(layer)) for key, layer in base.model.named_modules()] == [
        # GPT-2's transposed layers are linear ones in every dtype.
        (key, nn.Linear if isinstance(layer, Conv1D) else type(layer))
        for key, layer in make_model(name).base_model.named_modules()
    ]
    found, expected = base.model.state_dict(), exact.model.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert base.fingerprint == base.compute_fingerprint() == exact.fingerprint


@needs_units
def test_int8_is_asked_for_by_its_name(write_folder: WriteFolder):
    folder = str(write_folder())
    base, exact = (load_base(folder, device="cpu", dtype=dtype) for dtype in ("int8", "float32"))
    assert (base.dtype, exact.dtype) == ("int8", "float32")
    assert {weight.dtype for weight in base.model.parameters()} == {torch.float32}
    assert (base.fingerprint, base.head_fingerprint) == (exact.fingerprint, exact.head_fingerprint)
    assert base.head.weight.data_ptr() == base.sites.word_embeddings.weight.data_ptr()


@needs_units
def test_a_graft_made_in_float32_is_trained_in_int8_and_comes_off_without_a_trace():
    base, batch = make_int8_base("bert"), make_batch()
    graft = make_trained_graft(make_base("bert"), "qu", [Bottleneck(reduction=4)])
    weights = copy.deepcopy(base.model.state_dict())
    before = base.model(*batch).last_hidden_state
    with attach(base, "qu", grafts=[graft]) as attachment:
        hidden = attachment.run(*batch)
        hidden.square().sum().backward()
    assert not torch.allclose(hidden, before, atol=0.1)
    assert all(float(value.grad.norm()) > 0 for value in graft.layers.parameters())
    assert torch.equal(base.model(*batch).last_hidden_state, before)
    assert all(torch.equal(value, weights[key]) for key, value in base.model.state_dict().items())


def test_a_gpu_is_refused():
    with pytest.raises(BaseModelError) as refusal:
        freeze_base(
            name="tiny",
            model=make_model("bert").base_model,
            tokenizer=make_tokenizer(),
            device=torch.device("cuda:1"),
            dtype=torch.int8,
        )
    assert str(refusal.value) == (
        "The base is to be in int8 on the device 'cuda:1', and only processors multiply int8 here. Expected the "
        "device cpu, or another dtype. Pass device 'cpu' or dtype 'bfloat16'."
    )


def test_a_processor_without_units_is_refused_before_anything_is_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": False, "avx2": True})
    with pytest.raises(BaseModelError) as refusal:
        load_base("no/such/folder", device="cpu", dtype="int8")
    assert str(refusal.value) == (
        "The base is to be in int8, and this processor, or this PyTorch, has no units for it. Expected one of "
        "amx_int8, avx512_vnni, avx_vnni, and a PyTorch with oneDNN. Pass dtype 'float32'."
    )


@pytest.mark.parametrize(
    ("unit", "expected"), [("amx_int8", True), ("avx_vnni", True), ("avx512_bf16", False)]
)
def test_units_are_known_by_their_names(monkeypatch: pytest.MonkeyPatch, unit: str, expected: bool):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {unit: True})
    assert multiplies_int8(CPU) == (expected and torch.backends.mkldnn.is_available())
    assert not multiplies_int8(torch.device("cuda"))
