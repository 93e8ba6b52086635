"""The tensors of a training in progress, as a checkpoint holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from polygraft.attach.graft import Graft

KEYS = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW remembers of each value."""


def pack_tensors(graft: Graft, best: Mapping[str, Tensor], optimiser: Optimizer) -> dict[str, Tensor]:
    """Name everything that goes on changing while a graft is trained.

    Args:
        graft: The graft as it is now.
        best: Its best values so far.
        optimiser: An AdamW over the graft's values.
    """
    tensors = {f"graft/{name}": tensor for name, tensor in graft.tensors().items()}
    tensors |= {f"best/{name}": tensor for name, tensor in best.items()}
    for name, parameter in graft.layers.named_parameters():
        for key, value in optimiser.state[parameter].items():
            tensors[f"optimiser/{key}/{name}"] = value
    return tensors


def unpack_tensors(tensors: Mapping[str, Tensor], graft: Graft, optimiser: Optimizer) -> dict[str, Tensor]:
    """Put everything back where `pack_tensors` found it, and give the best values."""
    graft.layers.load_state_dict(_select(tensors, "graft/"))
    for name, parameter in graft.layers.named_parameters():
        for key in KEYS:
            optimiser.state[parameter][key] = tensors[f"optimiser/{key}/{name}"].to(parameter.device)
    return _select(tensors, "best/")


def _select(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
