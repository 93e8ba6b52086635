"""The weights of a base by name, and what each of them is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from polygraft.types import WeightInfo, WeightRole

if TYPE_CHECKING:
    from polygraft.base.base import Base


def list_weights(base: Base) -> tuple[WeightInfo, ...]:
    """List the weights of a base, those of its own head left out, in the order of its parameters."""
    layers: dict[str, nn.Module] = dict(base.model.named_modules())
    index_of = {
        id(weight): index for index, layer in enumerate(base.sites.layers) for weight in layer.parameters()
    }
    return tuple(
        WeightInfo(
            name=name,
            shape=tuple(weight.shape),
            role=_find_role(layers[name.rpartition(".")[0]], name),
            layer=index_of.get(id(weight)),
        )
        for name, weight in base.model.named_parameters()
    )


def _find_role(layer: nn.Module, name: str) -> WeightRole:
    if isinstance(layer, nn.Linear):
        return "bias" if name.endswith(".bias") else "linear"
    if isinstance(layer, nn.Embedding):
        return "embedding"
    # Each family brings norms of its own beside PyTorch's.
    return "norm" if "norm" in type(layer).__name__.casefold() else "other"
