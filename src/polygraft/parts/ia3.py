"""(IA)3: learned factors of what linear maps read and give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from polygraft.errors import OptionError
from polygraft.parts.part import Dimensions, Part, check_roles, find_maps
from polygraft.parts.reach import LinearWeights, ProjectionLayers, ProjectionState
from polygraft.types import ProjectionInfo, ProjectionRole


@dataclass(frozen=True, kw_only=True)
class IA3(Part):
    """Multiplies what chosen linear maps give, and what others read, by learned factors.

    With `l` the factors of one map: `y' = l * y` for outputs, a factor a row of the weight, and `x' = l * x` for
    inputs, a factor a column ((IA)3: Liu et al. 2022, section 3.3). By default these are the keys, the values, and
    what the feed-forward's second map reads, which is the output of its activation.

    A fresh one changes nothing: all factors are one.

    Example:
        >>> IA3().outputs
        ('key', 'value')
    """

    kind: ClassVar[str] = "ia3"

    outputs: tuple[ProjectionRole, ...] = ("key", "value")
    """Maps whose output is multiplied: `query`, `key`, `value`, `output`, `up`, `gate`, `down`."""
    inputs: tuple[ProjectionRole, ...] = ("down",)
    """Maps whose input is multiplied."""
    skip_layers: tuple[int, ...] = ()
    """Layers left out; negative ones count from the end."""

    def __post_init__(self) -> None:
        """Refuse options that cannot be meant."""
        if not self.outputs and not self.inputs:
            raise OptionError(
                "The part 'ia3' has no outputs and no inputs, so it would change nothing. Expected the roles of linear "
                "layers, such as key and value. Name at least one."
            )
        check_roles(self.kind, "outputs", self.outputs)
        check_roles(self.kind, "inputs", self.inputs)

    @override
    def build(self, dimensions: Dimensions, *, generator: torch.Generator) -> IA3Layers:
        return IA3Layers(self, dimensions=dimensions)


class IA3Layers(ProjectionLayers):
    """The factors of one graft."""

    def __init__(self, options: IA3, *, dimensions: Dimensions) -> None:
        super().__init__()
        self.options = options

        def find(option: str, roles: tuple[ProjectionRole, ...]) -> list[ProjectionInfo]:
            return find_maps(
                options.kind,
                option=option,
                roles=roles,
                skip_layers=options.skip_layers,
                dimensions=dimensions,
            )

        outputs, inputs = find("outputs", options.outputs), find("inputs", options.inputs)
        self.output_places: list[tuple[int, ProjectionRole]] = [(info.layer, info.role) for info in outputs]
        self.input_places: list[tuple[int, ProjectionRole]] = [(info.layer, info.role) for info in inputs]
        self.outputs = _make_factors({info: info.rows for info in outputs})
        self.inputs = _make_factors({info: info.columns for info in inputs})

    @override
    def list_outputs(self) -> list[tuple[int, ProjectionRole]]:
        return self.output_places

    @override
    def list_inputs(self) -> list[tuple[int, ProjectionRole]]:
        return self.input_places

    @override
    def change_output(self, place: tuple[int, ProjectionRole], state: ProjectionState) -> Tensor:
        return state.y * _find(self.outputs, place).to(state.y.dtype)

    @override
    def change_input(self, place: tuple[int, ProjectionRole], x: Tensor) -> Tensor:
        return x * _find(self.inputs, place).to(x.dtype)

    @override
    def merge(
        self, place: tuple[int, ProjectionRole], linear: LinearWeights, *, own: LinearWeights
    ) -> LinearWeights:
        factors = _find(self.outputs, place).to(linear.weight.dtype)
        bias = None if linear.bias is None else linear.bias * factors
        return LinearWeights(weight=linear.weight * factors[:, None], bias=bias)

    @override
    def merge_input(self, place: tuple[int, ProjectionRole], linear: LinearWeights) -> LinearWeights:
        factors = _find(self.inputs, place).to(linear.weight.dtype)
        return LinearWeights(weight=linear.weight * factors, bias=linear.bias)


def _make_factors(sizes: dict[ProjectionInfo, int]) -> nn.ModuleDict:
    """Make factors of one, by layer and role."""
    rows = nn.ModuleDict({str(info.layer): nn.ParameterDict() for info in sizes})
    for info, size in sizes.items():
        rows[str(info.layer)].register_parameter(info.role, nn.Parameter(torch.ones(size)))
    return rows


def _find(rows: nn.ModuleDict, place: tuple[int, ProjectionRole]) -> Tensor:
    layer, role = place
    return rows[str(layer)].get_parameter(role)
