"""What the layers of grafts do at each kind of place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from polygraft.errors import PlanError
from polygraft.parts.reach import (
    EmbeddingLayers,
    MixingLayers,
    ProjectionLayers,
    ProjectionState,
    SublayerLayers,
    SublayerState,
)
from polygraft.types import ProjectionRole


class SublayerAct:
    """Corrections of one sublayer's output."""

    def __init__(
        self, place: tuple[int, str], *, origin: Tensor, inp: Tensor, norm: Callable[[Tensor], Tensor]
    ) -> None:
        self.place = place
        self.origin = origin
        self.inp = inp
        self.norm = norm

    def apply(self, layers: nn.Module, h: Tensor) -> Tensor:
        """Correct the output."""
        return cast("SublayerLayers", layers).correct(self.place, self._look(h))

    def mix(self, layers: nn.Module, h: Tensor, outputs: Sequence[Tensor]) -> Tensor:
        """Mix several corrected outputs."""
        return cast("MixingLayers", layers).mix(self.place, self._look(h), outputs)

    def _look(self, h: Tensor) -> SublayerState:
        return SublayerState(h=h, origin=self.origin, inp=self.inp, norm=self.norm)


def refuse_mixing(where: str) -> PlanError:
    """Make the error for a fusion at a place where nothing can be mixed."""
    return PlanError(
        f"A fusion was to mix {where}. Expected members that stand behind sublayers, such as bottlenecks. Stack the "
        "others above or below the fusion."
    )


class EmbeddingAct:
    """Changes of the embeddings' output.

    Args:
        x: The embeddings; those that are handed to `apply` count.
    """

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def apply(self, layers: nn.Module, h: Tensor) -> Tensor:
        """Change them."""
        return cast("EmbeddingLayers", layers)(h)

    def mix(self, layers: nn.Module, h: Tensor, outputs: Sequence[Tensor]) -> Tensor:
        """Refuse to."""
        raise refuse_mixing("embeddings")


@dataclass(frozen=True, kw_only=True)
class OutputAct:
    """Changes of what a linear map gives."""

    place: tuple[int, ProjectionRole]
    x: Tensor
    weight: Tensor
    bias: Tensor | None

    def apply(self, layers: nn.Module, h: Tensor) -> Tensor:
        """Change the output."""
        state = ProjectionState(x=self.x, y=h, weight=self.weight, bias=self.bias)
        return cast("ProjectionLayers", layers).change_output(self.place, state)

    def mix(self, layers: nn.Module, h: Tensor, outputs: Sequence[Tensor]) -> Tensor:
        """Refuse to."""
        raise refuse_mixing("the outputs of linear layers")


@dataclass(frozen=True, kw_only=True)
class InputAct:
    """Changes of what a linear map reads."""

    place: tuple[int, ProjectionRole]

    def apply(self, layers: nn.Module, h: Tensor) -> Tensor:
        """Change the input."""
        return cast("ProjectionLayers", layers).change_input(self.place, h)

    def mix(self, layers: nn.Module, h: Tensor, outputs: Sequence[Tensor]) -> Tensor:
        """Refuse to."""
        raise refuse_mixing("the inputs of linear layers")
