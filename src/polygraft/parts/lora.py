"""LoRA: a product of two narrow matrices beside a frozen linear map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from polygraft.errors import OptionError
from polygraft.parts.part import MOST_TIMES, Dimensions, Part, check_roles, find_maps
from polygraft.parts.reach import LinearWeights, ProjectionLayers, ProjectionState
from polygraft.types import ProjectionInfo, ProjectionRole


@dataclass(frozen=True, kw_only=True)
class Lora(Part):
    """Adds a learned product of two narrow matrices to chosen linear maps.

    With W the frozen weight of a map [rows, columns], A [rank, columns] and B [rows, rank]:
    `W' = W + scale * B A` (LoRA: Hu et al. 2022, section 4.1), where `scale` is `alpha / rank`, or
    `alpha / sqrt(rank)` (rsLoRA: Kalajdzievski 2023). With `dora`, each row of that has a length of its own:
    `W'' = (|W| + m) * W' / |W'|` row by row, with m [rows] learned and the |W'| below the line held constant in
    gradients (DoRA: Liu et al. 2024, section 4.3).

    A fresh one changes nothing: B and m are zero. A is drawn uniformly as in the code of the paper (Kaiming with
    a = sqrt(5)).

    Example:
        >>> Lora(rank=4).scale
        2.0
    """

    kind: ClassVar[str] = "lora"

    rank: int = 8
    """Rows of A and columns of B (R)."""
    alpha: float = 8.0
    """Factor of the correction, divided by the rank; in proportion to it the learning rate acts."""
    roles: tuple[ProjectionRole, ...] = ("query", "value")
    """The maps: `query`, `key`, `value`, `output`, `up`, `gate`, `down`."""
    skip_layers: tuple[int, ...] = ()
    """Layers left out; negative ones count from the end."""
    rslora: bool = False
    """Whether alpha is divided by the root of the rank, so that high ranks learn as fast as low ones."""
    dora: bool = False
    """Whether the rows' lengths are learned apart from their directions."""

    def __post_init__(self) -> None:
        """Refuse options that cannot be meant."""
        if self.rank < 1:
            raise OptionError(
                f"The part 'lora' has rank={self.rank}. Expected 1 or more. Correct it; 4, 8 and 16 are common."
            )
        if not 0 < self.alpha < float("inf"):
            raise OptionError(
                f"The part 'lora' has alpha={self.alpha:g}. Expected a number above 0. Correct it; the rank, or twice "
                "that, is common."
            )
        if not self.roles:
            raise OptionError(
                "The part 'lora' has no roles, so it would change nothing. Expected the roles of linear layers, such "
                "as query and value. Name at least one."
            )
        check_roles(self.kind, "roles", self.roles)

    @property
    def scale(self) -> float:
        """The factor of `B A`."""
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)

    @override
    def build(self, dimensions: Dimensions, *, generator: torch.Generator) -> LoraLayers:
        return LoraLayers(self, dimensions=dimensions, generator=generator)


class LoraLayer(nn.Module):
    """The two matrices beside one map, and with DoRA what its rows' lengths differ by."""

    def __init__(self, options: Lora, *, info: ProjectionInfo, generator: torch.Generator) -> None:
        super().__init__()
        self.scale = options.scale
        bound = info.columns**-0.5
        down = torch.empty(options.rank, info.columns).uniform_(-bound, bound, generator=generator)
        self.A = nn.Parameter(down)
        self.B = nn.Parameter(torch.zeros(info.rows, options.rank))
        # What is learned is the difference to |W|: it starts at zero whatever the weights are, has the gradient of
        # the length itself, and the length of another library's file comes back from it.
        self.magnitude = nn.Parameter(torch.zeros(info.rows)) if options.dora else None
        self._lengths: tuple[tuple[object, ...], tuple[Tensor, Tensor]] | None = None

    def forward(self, state: ProjectionState) -> Tensor:
        """Change the map's output, [..., rows]."""
        x, y = state.x, state.y
        update = functional.linear(functional.linear(x, self.A.to(x.dtype)) * self.scale, self.B.to(x.dtype))
        if self.magnitude is None:
            return y + update
        factor = self._find_factor(self.magnitude, state.weight)
        # Around y, so that a factor of 1 leaves it bit for bit.
        product = y if state.bias is None else y - state.bias
        return y + (factor - 1).to(y.dtype) * product + factor.to(y.dtype) * update

    def merge(self, linear: LinearWeights, *, own: LinearWeights) -> LinearWeights:
        """Give the weights that do the same."""
        weight = linear.weight + self._multiply(linear.weight.dtype)
        if self.magnitude is None:
            return LinearWeights(weight=weight, bias=linear.bias)
        factor = self._find_factor(self.magnitude, own.weight).to(weight.dtype)
        bias = linear.bias
        if bias is not None and own.bias is not None:
            bias = bias + (factor - 1) * (bias - own.bias)
        return LinearWeights(weight=weight * factor[:, None], bias=bias)

    def _find_factor(self, magnitude: Tensor, weight: Tensor) -> Tensor:
        """Give what DoRA multiplies each row by, [rows]."""
        before, after = self._find_lengths(weight)
        return (before + magnitude) / after

    def _find_lengths(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Give the lengths of the rows of W and of W', [rows]; constants, measured anew when a value has changed."""
        if torch.compiler.is_compiling():
            return self._measure(weight)
        tensors = (weight, self.A, self.B)
        state = (
            *((each.data_ptr(), each.dtype, each.device, _count_changes(each)) for each in tensors),
            weight.stride(),
        )
        if self._lengths is None or self._lengths[0] != state:
            # Outside of inference mode, since what is kept may be needed for gradients later.
            with torch.inference_mode(False):
                self._lengths = (state, self._measure(weight))
        return self._lengths[1]

    @torch.no_grad()
    def _measure(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        dtype = torch.promote_types(self.A.dtype, torch.float32)
        own = weight.to(dtype)
        after = (own + self._multiply(dtype)).norm(dim=1)
        # A row of zeros has no direction: it stays as it is.
        return own.norm(dim=1), after.clamp_min(torch.finfo(dtype).tiny)

    def _multiply(self, dtype: torch.dtype) -> Tensor:
        with torch.autocast(self.A.device.type, enabled=False):
            return (self.B.to(dtype) @ self.A.to(dtype)) * self.scale


def _count_changes(tensor: Tensor) -> int:
    # Tensors made in inference mode do not count their changes.
    return 0 if tensor.is_inference() else tensor._version


class LoraLayers(ProjectionLayers):
    """The matrices of one graft beside all its maps of a base."""

    def __init__(self, options: Lora, *, dimensions: Dimensions, generator: torch.Generator) -> None:
        super().__init__()
        self.options = options
        infos = find_maps(
            options.kind,
            option="roles",
            roles=options.roles,
            skip_layers=options.skip_layers,
            dimensions=dimensions,
        )
        _check_rank(options, infos)
        self.places: list[tuple[int, ProjectionRole]] = [(info.layer, info.role) for info in infos]
        self.layers = nn.ModuleDict({str(layer): nn.ModuleDict() for layer, _ in self.places})
        for info in infos:
            row = self.layers[str(info.layer)]
            row.add_module(info.role, LoraLayer(options, info=info, generator=generator))

    def find_layer(self, place: tuple[int, ProjectionRole]) -> LoraLayer:
        """Give the matrices beside one map."""
        layer, role = place
        found = self.layers[str(layer)].get_submodule(role)
        assert isinstance(found, LoraLayer)
        return found

    @override
    def list_outputs(self) -> list[tuple[int, ProjectionRole]]:
        return self.places

    @override
    def change_output(self, place: tuple[int, ProjectionRole], state: ProjectionState) -> Tensor:
        return self.find_layer(place)(state)

    @override
    def merge(
        self, place: tuple[int, ProjectionRole], linear: LinearWeights, *, own: LinearWeights
    ) -> LinearWeights:
        return self.find_layer(place).merge(linear, own=own)


def _check_rank(options: Lora, infos: Sequence[ProjectionInfo]) -> None:
    smallest = min(infos, key=lambda info: min(info.rows, info.columns))
    size = min(smallest.rows, smallest.columns)
    if options.rank > MOST_TIMES * size:
        raise OptionError(
            f"The part 'lora' has rank={options.rank}, and its map '{smallest.role}' has {smallest.rows} rows and "
            f"{smallest.columns} columns. Expected 1 to {MOST_TIMES * size}; above {size} nothing is gained. Choose a "
            "smaller rank."
        )
