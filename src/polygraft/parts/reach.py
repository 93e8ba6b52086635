"""How the tensors of a part reach into a base: behind a sublayer, at a linear map, at the embeddings, in the attention.

A part's layers are of one of these kinds, of the kind that changes weights (`edit.py`), or a head. What attaches grafts
knows the kinds and no part.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from polygraft.types import ProjectionRole


@dataclass(frozen=True, kw_only=True)
class SublayerState:
    """What a correction may look at when a sublayer has computed its output.

    All tensors are [B, T, D].
    """

    h: Tensor
    """The sublayer's output, with the corrections of the grafts before this one."""
    origin: Tensor
    """The sublayer's own output, without any correction."""
    inp: Tensor
    """The sublayer's residual input."""
    norm: Callable[[Tensor], Tensor]
    """The frozen LayerNorm over `h + inp` (post-norm), or the identity (pre-norm)."""


class SublayerLayers(nn.Module, ABC):
    """Layers that correct the outputs of sublayers."""

    @abstractmethod
    def list_places(self) -> list[tuple[int, str]]:
        """List (layer, sublayer) of every correction, lowest first; a sublayer is `attention` or `ffn`."""

    @abstractmethod
    def correct(self, place: tuple[int, str], state: SublayerState) -> Tensor:
        """Give the sublayer's output with the correction, [B, T, D]."""


class MixingLayers(nn.Module, ABC):
    """Layers that mix what several grafts made of one sublayer's output."""

    @abstractmethod
    def list_places(self) -> list[tuple[int, str]]:
        """List (layer, sublayer) of every mixture, lowest first."""

    @abstractmethod
    def mix(self, place: tuple[int, str], state: SublayerState, outputs: Sequence[Tensor]) -> Tensor:
        """Give the sublayer's output from what each member made of it, all [B, T, D]."""


@dataclass(frozen=True, kw_only=True)
class ProjectionState:
    """What a change of a linear map's output may look at."""

    x: Tensor
    """What the map read, [..., columns]."""
    y: Tensor
    """What it gave, [..., rows], with the changes of the grafts before this one."""
    weight: Tensor
    """The base's own weight, [rows, columns]."""
    bias: Tensor | None
    """The base's own bias, [rows]."""


@dataclass(frozen=True, kw_only=True)
class LinearWeights:
    """What a linear map multiplies with and adds."""

    weight: Tensor
    """[rows, columns]."""
    bias: Tensor | None
    """[rows]."""


class ProjectionLayers(nn.Module, ABC):
    """Layers that change what the linear maps of a base read or give."""

    @abstractmethod
    def list_outputs(self) -> list[tuple[int, ProjectionRole]]:
        """List (layer, role) of every map whose output is changed, lowest first."""

    @abstractmethod
    def change_output(self, place: tuple[int, ProjectionRole], state: ProjectionState) -> Tensor:
        """Give the map's output as it is to be, [..., rows]."""

    def list_inputs(self) -> list[tuple[int, ProjectionRole]]:
        """List (layer, role) of every map whose input is changed; none by default."""
        return []

    def change_input(self, place: tuple[int, ProjectionRole], x: Tensor) -> Tensor:
        """Give what the map is to read, [..., columns], from what it would."""
        raise NotImplementedError(f"Nothing changes the input of {place}.")

    @abstractmethod
    def merge(
        self, place: tuple[int, ProjectionRole], linear: LinearWeights, *, own: LinearWeights
    ) -> LinearWeights:
        """Give the weights with which the map alone gives what `change_output` makes of its output.

        Args:
            place: The map.
            linear: Its weights, as the grafts before this one left them.
            own: The base's own.
        """

    def merge_input(self, place: tuple[int, ProjectionRole], linear: LinearWeights) -> LinearWeights:
        """Give the weights with which the map alone makes of `x` what it makes of `change_input(x)`.

        Args:
            place: The map.
            linear: Its weights, with all changes of its output and those of its input that come after this one.
        """
        raise NotImplementedError(f"Nothing changes the input of {place}.")


class EmbeddingLayers(nn.Module, ABC):
    """Layers that change the embeddings' output by a function whose inverse is known."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Change embeddings [..., E]."""

    @abstractmethod
    def invert(self, y: Tensor) -> Tensor:
        """Undo `forward` on [..., E]."""


class AttentionLayers(nn.Module, ABC):
    """Layers that give the attention more keys and values to look at."""

    @abstractmethod
    def list_layers(self) -> list[int]:
        """List the layers of the base whose attention gets them, lowest first."""

    @abstractmethod
    def make_prefix(self, layer: int) -> tuple[Tensor, Tensor]:
        """Give the keys [P, Dk] and the values [P, Dv] that come before those of the tokens."""

    @property
    def num_moved(self) -> int:
        """By how much later the tokens' positions begin; not at all by default."""
        return 0


class PromptLayers(nn.Module, ABC):
    """Layers that put embeddings before those of a row's pieces."""

    @property
    @abstractmethod
    def length(self) -> int:
        """How many they are (P)."""

    @abstractmethod
    def make_prompt(self) -> Tensor:
        """Give the embeddings, [P, E], as word embeddings are."""


def list_touched_layers(layers: nn.Module) -> Sequence[int] | None:
    """List the layers of a base that layers of these kinds stand in; None where they stand below all layers."""
    if isinstance(layers, SublayerLayers | MixingLayers):
        return [layer for layer, _ in layers.list_places()]
    if isinstance(layers, ProjectionLayers):
        return [layer for layer, _ in (*layers.list_outputs(), *layers.list_inputs())]
    if isinstance(layers, AttentionLayers):
        # What moves the tokens' positions changes what enters the first layer.
        return None if layers.num_moved else layers.list_layers()
    return None
