"""The bottleneck: a small feed-forward network behind a frozen sublayer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from polygraft.parts.activation import find_activation
from polygraft.parts.part import (
    Dimensions,
    Part,
    apply_linear,
    check_choice,
    check_reduction,
    check_width,
    find_layers,
    make_linear,
)
from polygraft.parts.reach import SublayerLayers, SublayerState

PLACEMENTS = ("ffn", "attention+ffn", "parallel")
SEMANTICS = ("adapterhub", "paper")
INITS = ("identity", "bert")
LEARNED = "learned"
BERT_STD = 0.02


@dataclass(frozen=True, kw_only=True)
class Bottleneck(Part):
    """Adds a small learned correction to a sublayer's output.

    With D the down, U the up projection and LN the frozen LayerNorm after the residual sum, for a
    sublayer's output h and input inp:

    - placement `ffn` (Pfeiffer et al. 2021): `h' = scale * (U act(D x + b) + b') + h` with
      `x = LN(h + inp)`, after the feed-forward;
    - placement `attention+ffn` (Houlsby et al. 2019): the same with `x = h`, after both sublayers;
    - placement `parallel` (He et al. 2022): the same with `x = inp`, scale 4, after the feed-forward.

    A fresh bottleneck changes nothing: the up projection starts at zero.

    Example:
        >>> Bottleneck(reduction=2).kind
        'bottleneck'
    """

    kind: ClassVar[str] = "bottleneck"

    reduction: float = 16
    """Hidden size over width: 2 for languages and 16 for tasks in MAD-X."""
    activation: str = "relu"
    """Name of the activation between the projections."""
    placement: Literal["ffn", "attention+ffn", "parallel"] = "ffn"
    """Where it stands and what it reads."""
    semantics: Literal["adapterhub", "paper"] = "adapterhub"
    """What the residual of a stacked bottleneck is: `adapterhub` takes the output of the graft below,
    `paper` (MAD-X, section 3.2) the sublayer's own output."""
    scaling: float | Literal["learned"] | None = None
    """Factor of the correction; None is 1, and 4 for `parallel`; `learned` learns one for each place, from 1."""
    skip_layers: tuple[int, ...] = ()
    """Layers left out (AdapterDrop); negative ones count from the end."""
    init: Literal["identity", "bert"] = "identity"
    """`identity`: the up projection is zero; `bert`: both are N(0, 0.02)."""

    def __post_init__(self) -> None:
        """Refuse options that cannot be meant."""
        check_choice(self.kind, "placement", self.placement, PLACEMENTS)
        check_choice(self.kind, "semantics", self.semantics, SEMANTICS)
        check_choice(self.kind, "init", self.init, INITS)
        if isinstance(self.scaling, str):
            check_choice(self.kind, "scaling", self.scaling, (LEARNED,))
        check_reduction(self.kind, self.reduction)
        find_activation(self.activation)

    @property
    def scale(self) -> float:
        """The factor in force, which a learned one begins with."""
        if isinstance(self.scaling, str):
            return 1.0
        if self.scaling is not None:
            return self.scaling
        return 4.0 if self.placement == "parallel" else 1.0

    def find_layers(self, num_layers: int) -> list[int]:
        """List the layers of the base that get a bottleneck.

        Raises:
            OptionError: A layer to skip does not exist, or none is left.
        """
        return find_layers(self.kind, skip_layers=self.skip_layers, num_layers=num_layers)

    @override
    def build(self, dimensions: Dimensions, *, generator: torch.Generator) -> BottleneckLayers:
        return BottleneckLayers(self, dimensions=dimensions, generator=generator)


class BottleneckLayer(nn.Module):
    """The two projections at one place: `scale * (U act(D x + b) + b')`, [..., D] to [..., D]."""

    def __init__(self, options: Bottleneck, *, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        width = check_width(options.kind, size=hidden, reduction=options.reduction)
        up_std = 0.0 if options.init == "identity" else BERT_STD
        down_std = None if options.init == "identity" else BERT_STD
        self.down = make_linear(width, hidden, generator=generator, std=down_std)
        self.up = make_linear(hidden, width, generator=generator, std=up_std)
        self.activation = find_activation(options.activation)
        self.fixed_scale = options.scale
        self.scale = nn.Parameter(torch.ones(1)) if options.scaling == LEARNED else None

    def forward(self, x: Tensor) -> Tensor:
        """Compute the correction."""
        correction = apply_linear(self.up, self.activation(apply_linear(self.down, x)))
        return correction * (self.fixed_scale if self.scale is None else self.scale.to(x.dtype))


class BottleneckLayers(SublayerLayers):
    """The bottlenecks of one graft in all layers of a base."""

    def __init__(self, options: Bottleneck, *, dimensions: Dimensions, generator: torch.Generator) -> None:
        super().__init__()
        self.options = options
        sublayers = ("attention", "ffn") if options.placement == "attention+ffn" else ("ffn",)
        self.layers = nn.ModuleDict(
            {
                str(layer): nn.ModuleDict(
                    {
                        name: BottleneckLayer(options, hidden=dimensions.hidden, generator=generator)
                        for name in sublayers
                    }
                )
                for layer in options.find_layers(dimensions.num_layers)
            }
        )

    @override
    def list_places(self) -> list[tuple[int, str]]:
        return [(int(layer), name) for layer, row in self.layers.items() for name in _keys(row)]

    @override
    def correct(self, place: tuple[int, str], state: SublayerState) -> Tensor:
        layer, name = place
        bottleneck = self.layers[str(layer)].get_submodule(name)
        placement = self.options.placement
        if placement == "ffn":
            x = state.norm(state.h + state.inp)
        else:
            x = state.h if placement == "attention+ffn" else state.inp
        residual = state.origin if self.options.semantics == "paper" else state.h
        return residual + bottleneck(x)


def _keys(row: nn.Module) -> list[str]:
    return [name for name, _ in row.named_children()]
