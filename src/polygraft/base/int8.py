"""The frozen linear layers of a base with a forward in int8 and gradients in float32.

Each row of the weights has a scale of its own, chosen once. Each row of the input has a scale and a middle, chosen anew
in every pass: the hidden states of a transformer hold a few values that are ten times as large as the rest, and one
scale for all rows would leave the others a handful of steps. It also makes a row's output the same whatever the other
rows are. The middle is for what comes from an activation, which is hardly ever below zero.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from typing_extensions import override

from polygraft.base.packed import PackedWeight

INT8_UNITS = ("amx_int8", "avx512_vnni", "avx_vnni")
"""What PyTorch calls the units of x86 processors that sum products of int8 exactly in int32."""
MOST = 127
"""The largest magnitude: -128 is left out, so that a number and its negative are rounded alike."""
ROWS_AT_ONCE = 512
"""Rows whose intermediate values exist at once, so that they stay in the cache."""
LEAST = 1e-12
"""Stands for the largest magnitude where all is zero."""


class Int8Weight(NamedTuple):
    """A weight whose rows are whole numbers times a step."""

    columns: Tensor
    """Whole numbers from -127 to 127, int8 [D, M]."""
    steps: Tensor
    """What one of them is worth, for each row [M]."""
    sums: Tensor
    """The sum of each row's rounded values [M]."""


def multiplies_int8(device: torch.device) -> bool:
    """Whether products of int8 have units of their own there: AVX-512's or AVX's VNNI, or AMX tiles."""
    capabilities = torch.cpu.get_capabilities()
    return (
        device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and any(capabilities.get(name, False) for name in INT8_UNITS)
    )


def quantise_weight(weight: Tensor) -> Int8Weight:
    """Round each row [D] of a weight [M, D] to whole multiples of a 127th of its largest magnitude.

    Example:
        >>> rounded = quantise_weight(torch.tensor([[0.5, -1.0], [254.0, 1.0]]))
        >>> rounded.columns.T.tolist()
        [[64, -127], [127, 0]]
        >>> rounded.sums[1].item()
        254.0
    """
    largest = weight.abs().amax(1, keepdim=True).clamp_(min=LEAST)
    rows = (weight * (MOST / largest)).round_().to(torch.int8)
    steps = (largest / MOST)[:, 0]
    return Int8Weight(columns=rows.T, steps=steps, sums=rows.sum(1) * steps)


def multiply_int8(x: Tensor, weight: Int8Weight, bias: Tensor | None) -> Tensor:
    """Compute `x @ weight.T + bias` with rounded values; the integer products and sums are exact.

    With `m` halfway between the least and the largest value of a row `x`, and `r` from there to either, the row is
    rounded to `m + r / 127 * q`, and `x @ w = r / 127 * step * (q @ columns) + m * sums`.

    Args:
        x: Float32 values [N, D].
        weight: A row for each output [M, D].
        bias: A value for each output [M], or None.

    Returns:
        Float32 values [N, M].
    """
    num_outputs = weight.columns.shape[1]
    y = x.new_empty(len(x), num_outputs)
    products = x.new_empty(min(ROWS_AT_ONCE, len(x)), num_outputs, dtype=torch.int32)
    for rows, into in zip(x.split(ROWS_AT_ONCE), y.split(ROWS_AT_ONCE), strict=True):
        low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
        middle = (low + high) / 2
        reach = torch.maximum(high - middle, middle - low).clamp_(min=LEAST)
        values = (rows - middle).mul_(MOST / reach).round_().to(torch.int8)
        torch.ops.aten._int_mm.out(values, weight.columns, out=products[: len(rows)])
        into.copy_(products[: len(rows)]).mul_(weight.steps).mul_(reach / MOST).addcmul_(weight.sums, middle)
        if bias is not None:
            into.add_(bias)
    return y


class _Int8Linear(torch.autograd.Function):
    @staticmethod
    @override
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        quantised: Int8Weight,
        bias: Tensor | None,
        backwards: PackedWeight,
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.backwards = backwards
        y = multiply_int8(x.reshape(-1, x.shape[-1]), quantised, bias)
        return y.view(*x.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    @override
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (the decorator hides the names)
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        # oneDNN's product takes both factors in one format, which autocast would change.
        with torch.autocast("cpu", enabled=False):
            return ctx.backwards.multiply(grad_outputs[0], weight, None), None, None, None, None


def set_int8_forward(model: nn.Module) -> None:
    """Give every linear layer of a frozen model a forward in int8.

    The weights stay as they are, beside a copy in int8 of a quarter of their size. Gradients go through the layers
    as if they had multiplied by the float32 weights. Inside autocast a layer computes what it computes outside of it,
    and rounds only what it gives, as other layers do.

    Args:
        model: A frozen model in float32 on a processor for which `multiplies_int8` holds.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            _set_forward(layer)


def _set_forward(layer: nn.Linear) -> None:
    weight, bias = layer.weight, layer.bias
    quantised = quantise_weight(weight.detach())
    backwards = PackedWeight(is_transposed=True)

    def multiply(input: Tensor) -> Tensor:
        return cast("Tensor", _Int8Linear.apply(input, weight, quantised, bias, backwards))

    def forward(input: Tensor) -> Tensor:
        if not torch.is_autocast_enabled("cpu"):
            return multiply(input)
        with torch.autocast("cpu", enabled=False):
            return multiply(input.float()).to(torch.get_autocast_dtype("cpu"))

    layer.forward = forward
