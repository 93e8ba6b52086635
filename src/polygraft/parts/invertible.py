"""The invertible part: a language's own input embeddings, undone before the decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from polygraft.parts.activation import find_activation
from polygraft.parts.part import (
    Dimensions,
    Part,
    apply_linear,
    check_halves,
    check_reduction,
    check_width,
    make_linear,
)
from polygraft.parts.reach import EmbeddingLayers


@dataclass(frozen=True, kw_only=True)
class Invertible(Part):
    """Changes the embeddings' output by a function whose inverse is known (NICE, Dinh et al. 2015).

    With the halves x1, x2 of an embedding: `y1 = x1 + F(x2); y2 = x2 + G(y1)`; the inverse is
    `x2 = y2 - G(y1); x1 = y1 - F(x2)` and is applied in the masked-LM head, after its LayerNorm and
    before the decoder (MAD-X, Pfeiffer et al. 2020, section 3.3). F and G are linear, activation,
    linear. A fresh one changes nothing: the second linear layers start at zero.
    """

    kind: ClassVar[str] = "invertible"

    reduction: float = 2
    """Half the embeddings' size over the width of F and G."""
    activation: str = "relu"
    """Name of the activation inside F and G."""

    def __post_init__(self) -> None:
        """Refuse options that cannot be meant."""
        check_reduction(self.kind, self.reduction)
        find_activation(self.activation)

    @override
    def build(self, dimensions: Dimensions, *, generator: torch.Generator) -> InvertibleLayers:
        check_halves(self.kind, size=dimensions.embedding)
        return InvertibleLayers(self, embedding=dimensions.embedding, generator=generator)


class Coupling(nn.Module):
    """Linear, activation, linear, on half an embedding [..., E/2]."""

    def __init__(
        self, *, size: int, width: int, activation: Callable[[Tensor], Tensor], generator: torch.Generator
    ) -> None:
        super().__init__()
        self.down = make_linear(width, size, generator=generator)
        self.up = make_linear(size, width, generator=generator, std=0.0)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Compute what is added to the other half."""
        return apply_linear(self.up, self.activation(apply_linear(self.down, x)))


class InvertibleLayers(EmbeddingLayers):
    """F and G of one graft."""

    def __init__(self, options: Invertible, *, embedding: int, generator: torch.Generator) -> None:
        super().__init__()
        self.options = options
        half = embedding // 2
        width = check_width(options.kind, size=half, reduction=options.reduction)
        activation = find_activation(options.activation)
        self.F = Coupling(size=half, width=width, activation=activation, generator=generator)
        self.G = Coupling(size=half, width=width, activation=activation, generator=generator)

    @override
    def forward(self, x: Tensor) -> Tensor:
        x1, x2 = x.chunk(2, dim=-1)
        y1 = x1 + self.F(x2)
        y2 = x2 + self.G(y1)
        return torch.cat([y1, y2], dim=-1)

    @override
    def invert(self, y: Tensor) -> Tensor:
        y1, y2 = y.chunk(2, dim=-1)
        x2 = y2 - self.G(y1)
        x1 = y1 - self.F(x2)
        return torch.cat([x1, x2], dim=-1)
