"""Activations by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from polygraft.errors import OptionError, nearest


def _gelu_tanh(x: Tensor) -> Tensor:
    return functional.gelu(x, approximate="tanh")


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "gelu_new": _gelu_tanh,
    "swish": functional.silu,
    "tanh": torch.tanh,
    "leakyrelu": functional.leaky_relu,
    "sigmoid": torch.sigmoid,
    "linear": torch.clone,
}


def find_activation(name: str) -> Callable[[Tensor], Tensor]:
    """Give the activation of that name.

    Raises:
        OptionError: There is none.
    """
    if name not in ACTIVATIONS:
        raise OptionError(
            f"There is no activation '{name}'. Known are {', '.join(ACTIVATIONS)}."
            f"{nearest(name, ACTIVATIONS)} Choose one."
        )
    return ACTIVATIONS[name]
