"""Linear layers whose weights lie in files as [inputs, outputs], as GPT-2's do.

They become linear layers like all others once, when a base is loaded, so that a row of a weight is one output in every
family: for what multiplies weights, scores them, chooses among them and leaves units out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from polygraft.base.weights import list_weights

if TYPE_CHECKING:
    from polygraft.base.base import Base


def turn_into_linear(model: nn.Module) -> None:
    """Put a linear layer in the place of each layer that multiplies by a transposed weight.

    Takes a second copy of one weight at a time. The layers compute what they computed, to rounding.

    Args:
        model: A model that is not trained.
    """
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, Conv1D):
                setattr(parent, name, _make_linear(layer))


def _make_linear(layer: Conv1D) -> nn.Linear:
    num_inputs, num_outputs = layer.weight.shape
    linear = nn.Linear(num_inputs, num_outputs, device="meta")
    linear.weight = nn.Parameter(layer.weight.detach().T.contiguous(), requires_grad=False)
    linear.bias = nn.Parameter(layer.bias.detach(), requires_grad=False)
    return linear.train(layer.training)


def restore_order(base: Base, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of a base as the files of its family hold them.

    Args:
        base: The base, for its family and for which of its weights are of linear layers.
        tensors: Tensors by the names that they have in the base; their sizes may be others.
    """
    if not base.sites.family.has_transposed_weights:
        return dict(tensors)
    linear = {weight.name for weight in list_weights(base) if weight.role == "linear"}
    return {name: tensor.T if name in linear else tensor for name, tensor in tensors.items()}
