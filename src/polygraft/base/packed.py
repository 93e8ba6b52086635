"""The frozen linear layers of a base, with weights in the order in which oneDNN multiplies them.

A frozen weight is read in every step and never written, so that what a matrix product does first each time, bringing
the weight into blocks that fit the processor, is done once: for the forward pass, and transposed for the gradient by
what the layer reads. The layer's own weight stays what it is.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from typing_extensions import override

UNITS = "avx512_f"
"""What PyTorch calls the units of the processors on which the gain was measured."""
DTYPES = (torch.float32, torch.bfloat16)


def multiplies_packed(device: torch.device) -> bool:
    """Whether oneDNN is there and the processor is of the kind on which its packed products were measured."""
    return (
        device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and bool(torch.cpu.get_capabilities().get(UNITS, False))
    )


def gains_by_packing(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether packed products are quicker there: not in float32 on Intel's processors, for which MKL is written."""
    is_native = str(torch.cpu.get_capabilities().get("cpu_name", "")).startswith("Intel")
    return multiplies_packed(device) and not (is_native and dtype == torch.float32)


class PackedWeight:
    """A copy of a weight in oneDNN's own order; made when first asked for, and anew once the weight has changed.

    A change in place through `weight.data`, which PyTorch does not count, is not seen; one under `torch.no_grad()` is.

    Args:
        is_transposed: Whether the product is with the weight itself, as a gradient needs it, instead of its transpose.
    """

    def __init__(self, *, is_transposed: bool = False) -> None:
        self.is_transposed = is_transposed
        self._packed: Tensor | None = None
        self._weight: Tensor | None = None
        self._state = (0, 0)

    def multiply(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Compute `x @ weight.T + bias`, or `x @ weight`, with x [..., D] of the weight's dtype."""
        # Tensors made in inference mode do not count their changes.
        state = (0 if weight.is_inference() else weight._version, weight.data_ptr())
        if self._weight is not weight or self._state != state:
            rows = weight.detach()
            # Without its batch size: blocks that suit every number of rows.
            self._packed = torch.ops.mkldnn._reorder_linear_weight(rows.T if self.is_transposed else rows)
            self._weight, self._state = weight, state
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, bias, "none", [], "")

    def __getstate__(self) -> dict[str, Any]:
        # A copy, whose layer has a weight of its own, begins anew; a file cannot hold tensors in oneDNN's order.
        return {"is_transposed": self.is_transposed, "_packed": None, "_weight": None, "_state": (0, 0)}


class _PackedProduct(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, x: Tensor, layer: PackedLinear) -> Tensor:
        ctx.layer = layer
        return layer.forwards.multiply(x, layer.weight, layer.bias)

    @staticmethod
    @once_differentiable
    @override
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (the decorator hides the names)
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        return ctx.layer.backwards.multiply(grad_outputs[0], ctx.layer.weight, None), None


class PackedLinear(nn.Linear):
    """A linear layer whose products are oneDNN's, with packed weights, as long as it is frozen.

    Where it is not, or its weight or its input is of a kind that oneDNN does not multiply here, or inside autocast,
    it is a linear layer like any other.

    Args:
        layer: The layer whose weight and bias it has; not copies of them.
    """

    def __init__(self, layer: nn.Linear) -> None:
        has_bias = layer.bias is not None  # pyright: ignore[reportUnnecessaryComparison]
        super().__init__(layer.in_features, layer.out_features, bias=has_bias, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.train(layer.training)
        self.forwards, self.backwards = PackedWeight(), PackedWeight(is_transposed=True)

    @override
    def forward(self, input: Tensor) -> Tensor:
        """Compute `input @ weight.T + bias`."""
        weight, bias = self.weight, self.bias
        has_bias = bias is not None  # pyright: ignore[reportUnnecessaryComparison]
        learns = weight.requires_grad or (has_bias and bias.requires_grad)
        if (
            input.numel() == 0
            or (learns and torch.is_grad_enabled())
            or weight.dtype not in DTYPES
            or input.dtype != weight.dtype
            or weight.device.type != "cpu"
            or torch.is_autocast_enabled("cpu")
            or torch.compiler.is_compiling()
        ):
            return functional.linear(input, weight, bias)
        if input.requires_grad and torch.is_grad_enabled():
            return cast("Tensor", _PackedProduct.apply(input, self))
        return self.forwards.multiply(input, weight, bias)


def pack_linear_layers(model: nn.Module) -> None:
    """Let the linear layers of a frozen model multiply packed weights.

    Costs a second copy of their weights once the model has computed something, and a third once it was differentiated.

    Args:
        model: A frozen model on a processor for which `multiplies_packed` holds.
    """
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear:
                setattr(parent, name, PackedLinear(layer))
