"""The compacter: a bottleneck whose projections are sums of Kronecker products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from polygraft.errors import OptionError
from polygraft.parts.activation import find_activation
from polygraft.parts.part import (
    Dimensions,
    Part,
    check_choice,
    check_number,
    check_reduction,
    check_width,
    find_layers,
    make_values,
)
from polygraft.parts.reach import SublayerLayers, SublayerState

PLACEMENTS = ("attention+ffn", "ffn")
MOST_TERMS = 64
MOST_RANK = 4096


@dataclass(frozen=True, kw_only=True)
class Compacter(Part):
    """A bottleneck `h' = act(x W + b) V + c + h` of few numbers (Karimi Mahabadi et al. 2021, section 4).

    Each projection is a sum of n Kronecker products, `W = kron(A1, B1) + ... + kron(An, Bn)`, with A [n, n] and
    B of the size of W over n. The A of all projections are the same ones unless `shared` is false, and each B is a
    product of a thin and a flat matrix of `rank` r.

    A fresh one changes nothing: the flat matrices of the up projection start at zero.

    Example:
        >>> Compacter().terms
        4
    """

    kind: ClassVar[str] = "compacter"

    reduction: float = 32
    """Hidden size over width."""
    terms: int = 4
    """How many products a projection is the sum of (n); it divides the hidden size and the width."""
    rank: int | None = 1
    """Rank of each B; None has them full."""
    shared: bool = True
    """Whether all projections of all layers have the same A."""
    activation: str = "gelu"
    """Name of the activation between the projections."""
    placement: Literal["attention+ffn", "ffn"] = "attention+ffn"
    """`attention+ffn`: after both sublayers, with `x = h`; `ffn`: after the feed-forward, with `x = LN(h + inp)`."""
    skip_layers: tuple[int, ...] = ()
    """Layers left out; negative ones count from the end."""

    def __post_init__(self) -> None:
        """Refuse options that cannot be meant."""
        check_choice(self.kind, "placement", self.placement, PLACEMENTS)
        check_number(self.kind, "terms", self.terms, most=MOST_TERMS)
        if self.rank is not None:
            check_number(self.kind, "rank", self.rank, most=MOST_RANK)
        check_reduction(self.kind, self.reduction)
        find_activation(self.activation)

    @override
    def build(self, dimensions: Dimensions, *, generator: torch.Generator) -> CompacterLayers:
        hidden = dimensions.hidden
        width = check_width(self.kind, size=hidden, reduction=self.reduction)
        if hidden % self.terms or width % self.terms:
            raise OptionError(
                f"The part '{self.kind}' has terms={self.terms} and reduction={self.reduction:g}, on a base whose "
                f"hidden size is {hidden}, so the width is {width}. Expected terms to divide both sizes. Choose "
                "another number of terms, or another reduction."
            )
        layers = find_layers(self.kind, skip_layers=self.skip_layers, num_layers=dimensions.num_layers)
        return CompacterLayers(self, layers=layers, hidden=hidden, width=width, generator=generator)


class KroneckerLinear(nn.Module):
    """`x W + b` with W a sum of Kronecker products, [..., inputs] to [..., outputs].

    Fresh values are drawn so that W has the spread of a fresh linear layer's weight.

    Args:
        options: The part.
        inputs: Size of what it reads.
        outputs: Size of what it gives.
        generator: Where the values are drawn from.
        is_zero: Whether it starts at zero.
    """

    def __init__(
        self,
        options: Compacter,
        *,
        inputs: int,
        outputs: int,
        generator: torch.Generator,
        is_zero: bool,
    ) -> None:
        super().__init__()
        num, rank = options.terms, options.rank
        self.rule = None if options.shared else make_rule(num, generator=generator)
        rows, columns = inputs // num, outputs // num
        spread = (3 * inputs) ** -0.5
        self.full = self.left = self.right = None
        if rank is None:
            self.full = make_values(num, rows, columns, generator=generator, std=0.0 if is_zero else spread)
        else:
            std = 0.0 if is_zero else rank**-0.5
            self.left = make_values(num, rows, rank, generator=generator, std=spread)
            self.right = make_values(num, rank, columns, generator=generator, std=std)
        self.bias = make_values(outputs, generator=generator, std=0.0)

    def forward(self, x: Tensor, rule: Tensor | None) -> Tensor:
        """Compute it, with the A [n, n, n] of all projections or None for its own."""
        small = self.full
        if small is None:
            assert self.left is not None and self.right is not None
            small = self.left @ self.right
        large = self.rule if rule is None else rule
        assert large is not None
        # Entry (p rows + j, q columns + k) of the sum is that of A (p, q) times that of B (j, k).
        weight = torch.einsum("npq,njk->pjqk", large, small).flatten(2).flatten(0, 1)
        return x @ weight.to(x.dtype) + self.bias.to(x.dtype)


class CompacterLayer(nn.Module):
    """The two projections at one place."""

    def __init__(self, options: Compacter, *, hidden: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.down = KroneckerLinear(options, inputs=hidden, outputs=width, generator=generator, is_zero=False)
        self.up = KroneckerLinear(options, inputs=width, outputs=hidden, generator=generator, is_zero=True)
        self.activation = find_activation(options.activation)

    def forward(self, x: Tensor, rule: Tensor | None) -> Tensor:
        """Compute the correction."""
        return self.up(self.activation(self.down(x, rule)), rule)


class CompacterLayers(SublayerLayers):
    """The compacters of one graft in all layers of a base."""

    def __init__(
        self,
        options: Compacter,
        *,
        layers: list[int],
        hidden: int,
        width: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.options = options
        self.rule = make_rule(options.terms, generator=generator) if options.shared else None
        self.names = ("attention", "ffn") if options.placement == "attention+ffn" else ("ffn",)
        self.layers = nn.ModuleDict(
            {
                str(layer): nn.ModuleDict(
                    {
                        name: CompacterLayer(options, hidden=hidden, width=width, generator=generator)
                        for name in self.names
                    }
                )
                for layer in layers
            }
        )

    @override
    def list_places(self) -> list[tuple[int, str]]:
        return [(int(layer), name) for layer in self.layers for name in self.names]

    @override
    def correct(self, place: tuple[int, str], state: SublayerState) -> Tensor:
        layer, name = place
        x = state.norm(state.h + state.inp) if self.options.placement == "ffn" else state.h
        return state.h + self.layers[str(layer)].get_submodule(name)(x, self.rule)


def make_rule(num_terms: int, *, generator: torch.Generator) -> nn.Parameter:
    """Make fresh A, [n, n, n]: n matrices whose products with a B of some spread sum up to that spread."""
    return make_values(num_terms, num_terms, num_terms, generator=generator, std=num_terms**-0.5)
