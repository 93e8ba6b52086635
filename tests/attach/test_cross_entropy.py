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


NUM_PIECES = 100_000
LOSS_SCALE = 2.0**12


def measure_errors(bias: Tensor, *, is_trained: bool) -> tuple[float, float]:
    """How far the gradients by float16 inputs and by the weight of the other pieces are from float64, in shares."""
    generator = torch.Generator().manual_seed(2)
    # Their products are told exactly by float16, so that the slopes are all that is rounded.
    x = torch.randint(-4, 5, (8, 16), generator=generator) / 16
    weight = torch.randint(0, 17, (NUM_PIECES, 16), generator=generator) / 8
    targets = torch.full((8,), 7)
    scores = x.double() @ weight.double().T + bias.double()
    slope = scores.softmax(1)
    slope[:, 7] -= 1
    own_x = x.half().requires_grad_()
    own_weight = weight.half().requires_grad_(is_trained)
    # As in training, so that what comes out is not below the range.
    (LOSS_SCALE * sum_cross_entropy(own_x, own_weight, bias, targets)).backward()
    assert own_x.grad is not None
    errors = [(own_x.grad.double() / LOSS_SCALE, slope @ weight.double())]
    if own_weight.grad is not None:
        errors.append((own_weight.grad.double() / LOSS_SCALE, slope.T @ x.double()))
        errors[1][0][7] = errors[1][1][7] = 0
    shares = [float((found - right).norm() / right.norm()) for found, right in errors]
    return shares[0], shares[-1]


def make_bias(target: float) -> Tensor:
    bias = torch.zeros(NUM_PIECES)
    bias[7] = target
    return bias


def test_in_float16_pieces_that_are_unlikely_each_count_together(monkeypatch: pytest.MonkeyPatch):
    # The right piece has a probability of about 0.9998, and no other one is above what float16 tells.
    assert measure_errors(make_bias(20.0), is_trained=False)[0] < 0.01
    # With slopes as they are the others count for nothing.
    monkeypatch.setattr(cross_entropy, "_find_scale", lambda *_, **__: torch.ones(()))
    assert measure_errors(make_bias(20.0), is_trained=False)[0] > 0.3


def test_in_float16_the_weight_of_an_unlikely_piece_has_its_gradient(monkeypatch: pytest.MonkeyPatch):
    assert measure_errors(make_bias(16.0), is_trained=True)[1] < 0.001
    monkeypatch.setattr(cross_entropy, "_find_scale", lambda *_, **__: torch.ones(()))
    assert measure_errors(make_bias(16.0), is_trained=True)[1] > 0.1


@pytest.mark.parametrize("wanted", [(0,), (1,), (0, 1)])
def test_in_float16_no_sum_leaves_the_range(wanted: tuple[int, ...]):
    # All that a row's slopes are multiplied by is as large as can be, and so is what a piece's are.
    weight = torch.full((1_000, 2), 30_000.0)
    weight[:, 1] = 0
    weight[3, 0] = -30_000
    x = torch.tensor([[2.0**-12, 2_000.0]]).repeat(30, 1)
    slope = (x.double() @ weight.double().T).softmax(1)
    slope[:, 3] -= 1
    inputs = [x.half(), weight.half()]
    for place in wanted:
        inputs[place].requires_grad_()
    sum_cross_entropy(inputs[0], inputs[1], None, torch.full((30,), 3)).backward()
    expected = [slope @ weight.double(), slope.T @ x.double()]
    for place in wanted:
        grad = inputs[place].grad
        assert grad is not None
        torch.testing.assert_close(grad.double(), expected[place], rtol=2e-3, atol=2e-3)
