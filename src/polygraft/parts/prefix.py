"""The prefix: learned keys and values that the attention of frozen layers looks at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from polygraft.errors import OptionError
from polygraft.parts.activation import find_activation
from polygraft.parts.part import (
    Dimensions,
    Part,
    apply_linear,
    check_number,
    find_layers,
    make_linear,
    make_values,
)
from polygraft.parts.reach import AttentionLayers
from polygraft.types import ProjectionRole

MOST_PLACES = 4096
"""How many places a prefix or a prompt may have: more than most bases have for a text."""
MOST_WIDTH = 65_536
PLAIN_STD = 0.02


@dataclass(frozen=True, kw_only=True)
class Prefix(Part):
    """Puts P keys and values before those of the tokens (prefix tuning, Li & Liang 2021, section 4).

    In every layer, with q, k, v of the tokens and the layer's prefix `Pk`, `Pv`, attention becomes
    `softmax(q [Pk; k]^T / sqrt(d)) [Pv; v]`. Every token sees the whole prefix, which has no positions. Those of the
    tokens begin where they always do, or P later with `moves_positions`. With a reparameterization, the prefixes of
    all layers are `U act(D e + b) + c` of a small matrix `e` (section 4.3), which is steadier to train than plain
    values.

    A fresh prefix changes a little: a key of zeros would still take its share of the attention.

    Example:
        >>> Prefix(length=10).reparameterization
        512
    """

    kind: ClassVar[str] = "prefix"

    length: int = 30
    """How many keys and values each layer gets (P)."""
    reparameterization: int | None = 512
    """Width of the network that makes them while they are learned; None learns plain values."""
    activation: str = "tanh"
    """Name of the activation inside the network."""
    skip_layers: tuple[int, ...] = ()
    """Layers left out; negative ones count from the end."""
    moves_positions: bool = False
    """Whether the tokens' positions begin P later, as if the prefix were pieces that came before; so PEFT has it."""

    def __post_init__(self) -> None:
        """Refuse options that cannot be meant."""
        check_number(self.kind, "length", self.length, most=MOST_PLACES)
        if self.reparameterization is not None:
            check_number(self.kind, "reparameterization", self.reparameterization, most=MOST_WIDTH)
        find_activation(self.activation)

    @override
    def build(self, dimensions: Dimensions, *, generator: torch.Generator) -> PrefixLayers:
        layers = find_layers(self.kind, skip_layers=self.skip_layers, num_layers=dimensions.num_layers)
        columns: dict[int, tuple[slice, slice]] = {}
        end = 0
        for layer in layers:
            start, middle = end, end + _find_width(dimensions, layer, "key")
            end = middle + _find_width(dimensions, layer, "value")
            columns[layer] = (slice(start, middle), slice(middle, end))
        if self.reparameterization is None:
            source: PrefixSource = PlainValues(length=self.length, size=end, generator=generator)
        else:
            source = Reparameterized(
                self, width=self.reparameterization, hidden=dimensions.hidden, size=end, generator=generator
            )
        return PrefixLayers(self, source=source, columns=columns)


def _find_width(dimensions: Dimensions, layer: int, role: ProjectionRole) -> int:
    """Give the width of the keys or values of a layer, all heads together; grouped queries share some."""
    for info in dimensions.projections:
        if info.layer == layer and info.role == role:
            return info.rows
    raise OptionError(
        f"The part '{Prefix.kind}' stands in layer {layer}, and this base has no linear map there that gives a {role}. "
        "Expected a base with keys and values in every layer that is not skipped. Leave the part out for this base."
    )


class PrefixSource(nn.Module, ABC):
    """What the prefixes of all layers come from, [P, S] with S the widths of all keys and values in order."""

    @abstractmethod
    def forward(self, columns: slice) -> Tensor:
        """Give some columns of it, [P, columns]."""


class PlainValues(PrefixSource):
    """The values themselves."""

    def __init__(self, *, length: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.values = make_values(length, size, generator=generator, std=PLAIN_STD)

    @override
    def forward(self, columns: slice) -> Tensor:
        return self.values[:, columns]


class Reparameterized(PrefixSource):
    """`U act(D e + b) + c`, with e [P, D]."""

    def __init__(
        self, options: Prefix, *, width: int, hidden: int, size: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.embedding = make_values(options.length, hidden, generator=generator, std=1.0)
        self.down = make_linear(width, hidden, generator=generator)
        self.up = make_linear(size, width, generator=generator)
        self.activation = find_activation(options.activation)

    @override
    def forward(self, columns: slice) -> Tensor:
        middle = self.activation(apply_linear(self.down, self.embedding))
        return functional.linear(middle, self.up.weight[columns], self.up.bias[columns])


class PrefixLayers(AttentionLayers):
    """The prefixes of one graft in all layers of a base.

    Args:
        options: The part.
        source: What they come from.
        columns: Where the keys and the values of each layer are in it.
    """

    def __init__(
        self, options: Prefix, *, source: PrefixSource, columns: dict[int, tuple[slice, slice]]
    ) -> None:
        super().__init__()
        self.options = options
        self.source = source
        self.columns = columns

    @override
    def list_layers(self) -> list[int]:
        return list(self.columns)

    @override
    def make_prefix(self, layer: int) -> tuple[Tensor, Tensor]:
        keys, values = self.columns[layer]
        return self.source(keys), self.source(values)

    @property
    @override
    def num_moved(self) -> int:
        return self.options.length if self.options.moves_positions else 0

    def make_all(self) -> Tensor:
        """Give the prefixes of all layers as plain values, [P, S]: layer by layer the keys, then the values.

        A prefix without a reparameterization that holds them computes the same, and is far smaller.
        """
        return self.source(slice(None))
