"""The summed cross entropy and its gradients against PyTorch's own over all scores."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from polygraft.attach import cross_entropy
from polygraft.attach.cross_entropy import sum_cross_entropy


def make_inputs(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    shapes = ((11, 6), (40, 6), (40,))
    # Scores up to about 50, whose exponentials differ by many orders of magnitude.
    return [(4 * torch.randn(shape, generator=generator)).to(dtype) for shape in shapes]


TARGETS = torch.tensor([0, 39, 7, 7, 12, 3, 20, 21, 39, 1, 0])


@pytest.mark.parametrize("rows", [11, 4, 1])
@pytest.mark.parametrize("has_bias", [True, False])
def test_the_sum_and_every_gradient_are_pytorchs(rows: int, has_bias: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cross_entropy, "CELLS_PER_CHUNK", rows * 40)
    inputs = [tensor.requires_grad_() for tensor in make_inputs()]
    x, weight, bias = inputs[0], inputs[1], inputs[2] if has_bias else None
    used = inputs if has_bias else inputs[:2]
    found = sum_cross_entropy(x, weight, bias, TARGETS)
    expected = functional.cross_entropy(functional.linear(x, weight, bias), TARGETS, reduction="sum")
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    gradients = zip(
        torch.autograd.grad(3 * found, used), torch.autograd.grad(3 * expected, used), strict=True
    )
    for own, plain in gradients:
        assert (own - plain).abs().max() < 1e-5 * max(1.0, float(plain.abs().max()))


@pytest.mark.parametrize("wanted", [(0,), (2,), (0, 2), (1,), ()])
def test_only_what_is_trained_gets_a_gradient(wanted: tuple[int, ...]):
    inputs = make_inputs()
    for place in wanted:
        inputs[place].requires_grad_()
    total = sum_cross_entropy(*inputs, TARGETS)
    assert total.requires_grad is bool(wanted)
    if wanted:
        total.backward()
    assert [place for place, tensor in enumerate(inputs) if tensor.grad is not None] == list(wanted)


def test_a_decoder_in_bfloat16_gives_the_loss_to_its_precision_and_gradients_in_the_inputs_dtypes():
    x, weight, bias = make_inputs()
    expected = functional.cross_entropy(functional.linear(x, weight, bias), TARGETS, reduction="sum")
    x.requires_grad_()
    bias.requires_grad_()
    found = sum_cross_entropy(x, weight.bfloat16(), bias, TARGETS)
    assert found.item() == pytest.approx(expected.item(), rel=0.02)
    found.backward()
    assert x.grad is not None
    assert bias.grad is not None
    assert (x.grad.dtype, bias.grad.dtype) == (torch.float32, torch.float32)
    # A softmax sums to one, and the target takes one away.
    assert bias.grad.sum().item() == pytest.approx(0, abs=1e-4)


def test_no_rows_lose_nothing():
    x, weight, bias = make_inputs()
    assert sum_cross_entropy(x[:0], weight, bias, TARGETS[:0]).item() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_products_are_those_of_a_rounded_weight(dtype: torch.dtype):
    generator = torch.Generator().manual_seed(3)
    x, weight = torch.randn(9, 6, generator=generator), torch.randn(30, 6, generator=generator)
    targets = torch.randint(30, (9,), generator=generator)
    found: list[tuple[Tensor, Tensor]] = []
    for is_on, rows in ((True, weight), (False, weight.to(dtype))):
        own = x.clone().requires_grad_()
        with torch.autocast("cpu", dtype=dtype, enabled=is_on):
            total = sum_cross_entropy(own, rows, None, targets)
        total.backward()
        assert own.grad is not None
        found.append((total.detach(), own.grad))
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
    assert not torch.equal(found[0][0], sum_cross_entropy(x, weight, None, targets))
