"""The glow: an invertible change of the embeddings that scales as well as shifts."""

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

CLAMP = 5.0
"""How far the logarithm of a scale can go, nearly: 0.636 times pi / 2 is 0.999."""


@dataclass(frozen=True, kw_only=True)
class Glow(Part):
    """Changes the embeddings' output by scales and shifts whose inverse is known (Kingma & Dhariwal 2018, section 3.3).

    With the halves x1, x2 of an embedding, `(s2, t2) = S2(x2)`, and `e(s) = exp(5 * 0.636 * atan(s / 5))`:
    `y1 = e(s2) * x1 + t2`, then with `(s1, t1) = S1(y1)`: `y2 = e(s1) * x2 + t1`. The inverse is
    `x2 = (y2 - t1) / e(s1); x1 = (y1 - t2) / e(s2)` and is applied in the masked-LM head, as that of the invertible
    part is. S1 and S2 are linear, activation, linear. A fresh one changes nothing: the second linear layers start at
    zero.
    """

    kind: ClassVar[str] = "glow"

    reduction: float = 2
    """Half the embeddings' size over the width of S1 and S2."""
    activation: str = "relu"
    """Name of the activation inside S1 and S2."""

    def __post_init__(self) -> None:
        """Refuse options that cannot be meant."""
        check_reduction(self.kind, self.reduction)
        find_activation(self.activation)

    @override
    def build(self, dimensions: Dimensions, *, generator: torch.Generator) -> GlowLayers:
        check_halves(self.kind, size=dimensions.embedding)
        return GlowLayers(self, embedding=dimensions.embedding, generator=generator)


class ScaleAndShift(nn.Module):
    """Half an embedding [..., E/2] to the scale and the shift of the other half, each [..., E/2]."""

    def __init__(
        self, *, size: int, width: int, activation: Callable[[Tensor], Tensor], generator: torch.Generator
    ) -> None:
        super().__init__()
        self.down = make_linear(width, size, generator=generator)
        self.up = make_linear(2 * size, width, generator=generator, std=0.0)
        self.activation = activation

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute both."""
        s, t = apply_linear(self.up, self.activation(apply_linear(self.down, x))).chunk(2, dim=-1)
        return torch.exp(CLAMP * 0.636 * torch.atan(s / CLAMP)), t


class GlowLayers(EmbeddingLayers):
    """S1 and S2 of one graft."""

    def __init__(self, options: Glow, *, embedding: int, generator: torch.Generator) -> None:
        super().__init__()
        self.options = options
        half = embedding // 2
        width = check_width(options.kind, size=half, reduction=options.reduction)
        activation = find_activation(options.activation)
        self.S1 = ScaleAndShift(size=half, width=width, activation=activation, generator=generator)
        self.S2 = ScaleAndShift(size=half, width=width, activation=activation, generator=generator)

    @override
    def forward(self, x: Tensor) -> Tensor:
        x1, x2 = x.chunk(2, dim=-1)
        scale, shift = self.S2(x2)
        y1 = scale * x1 + shift
        scale, shift = self.S1(y1)
        return torch.cat([y1, scale * x2 + shift], dim=-1)

    @override
    def invert(self, y: Tensor) -> Tensor:
        y1, y2 = y.chunk(2, dim=-1)
        scale, shift = self.S1(y1)
        x2 = (y2 - shift) / scale
        scale, shift = self.S2(x2)
        return torch.cat([(y1 - shift) / scale, x2], dim=-1)
