"""Cross entropy over many pieces without a matrix of all rows and all pieces."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from typing_extensions import override

CELLS_PER_CHUNK = 16_000_000
"""Scores that exist at once: 64 MB in float32, which are 64 rows of 250,002 pieces."""
FLOAT16_TOP = 2.0**15
"""How large sums in float16 may become: half of what it tells at most."""


def sum_cross_entropy(x: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """Sum the cross entropy of `x @ weight.T + bias` against targets, in nats; exact, and so is its gradient.

    The sum's gradient is made beside the sum itself, chunk by chunk of rows, so that no score is kept or computed
    twice. Products are in the dtype of `weight`, or in autocast's where it is on, everything else in float32. For
    products in float16 the slopes are multiplied first, by a power of two that leaves room for their sums: of many
    pieces most are guessed with less than the smallest number that float16 tells well.

    Args:
        x: The decoder's input [N, E].
        weight: A row for each piece [V, E].
        bias: A value for each piece [V], or None.
        targets: The number of the right piece in each row [N].
    """
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        # Rounded once, not in every chunk.
        weight = weight.to(torch.get_autocast_dtype(kind))
    with torch.autocast(kind, enabled=False):
        total = _SummedCrossEntropy.apply(x, weight, bias, targets)
    return cast("Tensor", total)


class _SummedCrossEntropy(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        grads = [
            torch.zeros_like(tensor, dtype=torch.float32) if tensor is not None and wanted else None
            for tensor, wanted in zip((x, weight, bias), ctx.needs_input_grad, strict=False)
        ]
        total = torch.zeros((), dtype=torch.float32, device=x.device)
        num_rows = max(1, CELLS_PER_CHUNK // len(weight))
        scale = _find_scale(x, weight, grads, num_rows=num_rows) if weight.dtype == torch.float16 else None
        for start in range(0, len(x), num_rows):
            rows = slice(start, start + num_rows)
            chunk = x[rows].to(weight.dtype)
            total += _add_chunk(chunk, weight, bias, targets[rows], grads=grads, rows=rows, scale=scale)
        ctx.save_for_backward(*(grad for grad in grads if grad is not None))
        ctx.has_grad = [grad is not None for grad in grads]
        ctx.dtypes = [x.dtype, weight.dtype, None if bias is None else bias.dtype]
        return total

    @staticmethod
    @once_differentiable
    @override
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (the decorator hides the names)
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (outer,) = grad_outputs
        saved = iter(ctx.saved_tensors)
        grads = [
            (next(saved) * outer).to(dtype) if has_grad else None
            for has_grad, dtype in zip(ctx.has_grad, ctx.dtypes, strict=True)
        ]
        return (*grads, None)


def _add_chunk(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    *,
    grads: list[Tensor | None],
    rows: slice,
    scale: Tensor | None,
) -> Tensor:
    """Give the summed loss of some rows, and add their share to the wanted gradients."""
    scores = functional.linear(x, weight).float()
    if bias is not None:
        scores += bias
    scores -= scores.amax(1, keepdim=True)
    places = torch.arange(len(x), device=x.device)
    right = scores[places, targets]
    scores.exp_()
    sums = scores.sum(1)
    grad_x, grad_weight, grad_bias = grads
    if any(grad is not None for grad in grads):
        # The loss' gradient by the scores: their softmax, less 1 at the target.
        scores /= sums[:, None]
        scores[places, targets] -= 1
        if grad_bias is not None:
            grad_bias += scores.sum(0)
        if scale is not None:
            scores *= scale
        slope = scores.to(weight.dtype)
        if grad_x is not None:
            grad_x[rows] = _multiply(slope, weight, scale=scale)
        if grad_weight is not None:
            grad_weight += _multiply(slope.T, x, scale=scale)
    return (sums.log() - right).sum()


def _multiply(slope: Tensor, other: Tensor, *, scale: Tensor | None) -> Tensor:
    """Multiply matrices of which the first is `scale` times too large."""
    product = slope @ other
    return product if scale is None else product.float() / scale


def _find_scale(x: Tensor, weight: Tensor, grads: list[Tensor | None], *, num_rows: int) -> Tensor:
    """Give the largest power of two with which no sum of the wanted products leaves float16, a scalar.

    The magnitudes of a row's slopes are 2 together at most, and each of them is 1 at most, so that those of a piece are
    `num_rows` together at most.
    """
    grad_x, grad_weight, _ = grads
    most = torch.ones((), device=x.device)
    if grad_x is not None:
        most = torch.maximum(most, 2 * _find_largest(weight))
    if grad_weight is not None and len(x):
        most = torch.maximum(most, min(num_rows, len(x)) * _find_largest(x))
    return torch.exp2(torch.floor(torch.log2(FLOAT16_TOP / most)))


def _find_largest(tensor: Tensor) -> Tensor:
    """Give the largest magnitude, in float32; no copy of the tensor is made."""
    low, high = torch.aminmax(tensor.detach())
    return torch.maximum(-low, high).float()
