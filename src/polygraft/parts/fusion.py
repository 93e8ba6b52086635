"""The fusion: several grafts side by side, mixed by an attention that is learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from polygraft.parts.part import (
    Dimensions,
    Part,
    apply_linear,
    check_choice,
    find_layers,
    make_linear,
)
from polygraft.parts.reach import MixingLayers, SublayerState

PLACEMENTS = ("ffn", "attention+ffn")
STD = 0.02
OFF_DIAGONAL = 1e-6
"""What a fresh value projection has beside its diagonal of ones."""


@dataclass(frozen=True, kw_only=True)
class Fusion(Part):
    """Mixes what several grafts add to a sublayer's output (AdapterFusion: Pfeiffer et al. 2021, section 3.2).

    With h the sublayer's output, inp its input, LN the frozen LayerNorm and u_i what member i adds to h:
    `h' = h + sum_i softmax_i((Q x) . (K u_i)) V u_i`, with `x = LN(h + inp)` for placement `ffn` and `x = h` for
    `attention+ffn`. Q and K have biases, V has none. Where several members reach a sublayer, each starts from the
    same h; a member that does nothing there adds zero, and takes its share of the softmax.

    A fresh fusion weighs its members almost alike: Q and K are N(0, 0.02), and V is the identity.

    Example:
        >>> Fusion().kind
        'fusion'
    """

    kind: ClassVar[str] = "fusion"

    placement: Literal["ffn", "attention+ffn"] = "ffn"
    """Where the members' bottlenecks stand; `parallel` ones are at `ffn`."""
    skip_layers: tuple[int, ...] = ()
    """Layers in which nothing is mixed, and the members do nothing; negative ones count from the end."""

    def __post_init__(self) -> None:
        """Refuse options that cannot be meant."""
        check_choice(self.kind, "placement", self.placement, PLACEMENTS)

    @override
    def build(self, dimensions: Dimensions, *, generator: torch.Generator) -> FusionLayers:
        return FusionLayers(self, dimensions=dimensions, generator=generator)


class FusionLayer(nn.Module):
    """The three projections at one place, [D, D] each."""

    def __init__(self, *, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.query = make_linear(hidden, hidden, generator=generator, std=STD)
        self.key = make_linear(hidden, hidden, generator=generator, std=STD)
        self.value = nn.Parameter(torch.eye(hidden) * (1 - OFF_DIAGONAL) + OFF_DIAGONAL)

    def forward(self, x: Tensor, added: Tensor) -> Tensor:
        """Mix.

        Args:
            x: What is asked, [..., D].
            added: What each of N members adds, [..., N, D].

        Returns:
            What is added instead, [..., D].
        """
        query = apply_linear(self.query, x)
        scores = torch.einsum("...d,...nd->...n", query, apply_linear(self.key, added))
        mixed = torch.einsum("...n,...nd->...d", scores.softmax(dim=-1), added)
        return mixed @ self.value.T.to(mixed.dtype)


class FusionLayers(MixingLayers):
    """The mixtures of one graft in all layers of a base."""

    def __init__(self, options: Fusion, *, dimensions: Dimensions, generator: torch.Generator) -> None:
        super().__init__()
        self.options = options
        sublayers = ("attention", "ffn") if options.placement == "attention+ffn" else ("ffn",)
        layers = find_layers(options.kind, skip_layers=options.skip_layers, num_layers=dimensions.num_layers)
        self.layers = nn.ModuleDict(
            {
                str(layer): nn.ModuleDict(
                    {name: FusionLayer(hidden=dimensions.hidden, generator=generator) for name in sublayers}
                )
                for layer in layers
            }
        )

    @override
    def list_places(self) -> list[tuple[int, str]]:
        return [(int(layer), name) for layer, row in self.layers.items() for name, _ in row.named_children()]

    @override
    def mix(self, place: tuple[int, str], state: SublayerState, outputs: Sequence[Tensor]) -> Tensor:
        layer, name = place
        is_ffn = self.options.placement == "ffn"
        x = state.norm(state.h + state.inp) if is_ffn else state.h
        added = torch.stack([output - state.h for output in outputs], dim=-2)
        return state.h + self.layers[str(layer)].get_submodule(name)(x, added)
