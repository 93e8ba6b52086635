"""The hooks by which grafts change what a base computes.

One forward pass leaves what later hooks need in a `Pass`, which belongs to the attachment: nothing
is global. Every hook is removed with the attachment, and the base is again what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch

from polygraft.errors import GraftError
from polygraft.parts.bottleneck import BottleneckLayers, SublayerState

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base
    from polygraft.base.sites import Sublayer, SublayerName

Place = tuple[int, str]


class LayerReached(Exception):  # noqa: N818
    """Ends a forward pass at the layer whose output was asked for; never leaves `attach`."""


@dataclass(kw_only=True)
class Pass:
    """What one forward pass has seen so far."""

    inputs: dict[Place, Tensor] = field(default_factory=dict)
    """The residual input of each sublayer with a bottleneck."""
    reached: set[Place] = field(default_factory=set)
    """The places that were corrected."""
    start: int = 0
    """The number of layers that are left out, because what they give is known."""
    stop_after: int | None = None
    """The number of layers to run; None runs all."""
    stopped: Tensor | None = None
    """The output [B, T, D] of the layer where the pass was ended."""
    wanted: Tensor | None = None
    """Places [N] among the B T tokens whose hidden states alone are asked for; None asks for all."""
    narrow_in: int | None = None
    """The layer that goes on with the wanted places alone once its attention has mixed all of them."""
    is_narrow: bool = False
    """Whether it has done so: hidden states are [1, N, D] from there on."""


def identity(x: Tensor) -> Tensor:
    """Give the argument back."""
    return x


def pick(hidden: Tensor, places: Tensor) -> Tensor:
    """Take hidden states [B, T, D] at some places [N], each `row * T + column`: [N, D]."""
    return hidden.flatten(0, 1).index_select(0, places)


class Hooks:
    """All hooks of one attachment."""

    def __init__(self, base: Base, grafts: Sequence[Graft]) -> None:
        self.current = Pass()
        self.places: dict[Place, list[BottleneckLayers]] = {}
        self.handles: list[RemovableHandle] = []
        try:
            self._hook_all(base, grafts)
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Take every hook off the base."""
        for handle in self.handles:
            handle.remove()
        self.handles.clear()

    def _hook_all(self, base: Base, grafts: Sequence[Graft]) -> None:
        self._hook_embeddings(base, grafts)
        for graft in grafts:
            for layers in graft.layers.children():
                if isinstance(layers, BottleneckLayers):
                    for place in layers.list_places():
                        self.places.setdefault(place, []).append(layers)
        for place, stacked in self.places.items():
            self._hook_sublayer(base, place, stacked)
        # Below the lowest layer a family may look back at all tokens (DeBERTa's convolution).
        for index in range(1, base.sites.num_layers):
            norm = base.sites.sublayer(index, "attention").norm
            if norm is not None:
                self.handles.append(norm.register_forward_hook(self._make_narrowing(index)))
        # A pass stops where the next layer would begin, because a base may do something between two
        # layers (DeBERTa's convolution). Nothing comes after the last one but a pre-norm base's last norm.
        for count, layer in enumerate(base.sites.layers[1:], start=1):
            self.handles.append(layer.register_forward_pre_hook(self._make_stop_before(count)))
        if base.sites.has_last_norm:
            last = base.sites.layers[-1]
            self.handles.append(last.register_forward_hook(self._make_stop_after(base.sites.num_layers)))

    def _hook_embeddings(self, base: Base, grafts: Sequence[Graft]) -> None:
        for graft in grafts:
            invertible = graft.find_invertible()
            if invertible is not None:
                handle = base.sites.embeddings.register_forward_hook(self._make_embeddings_hook(invertible))
                self.handles.append(handle)

    def _make_embeddings_hook(self, invertible: nn.Module) -> Callable[..., Tensor]:
        def change(_: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            return output if self.current.start else invertible(output)

        return change

    def _hook_sublayer(self, base: Base, place: Place, stacked: list[BottleneckLayers]) -> None:
        index, name = place
        if index >= base.sites.num_layers:
            raise GraftError(
                f"A graft of the plan stands in layer {index}, and the base '{base.name}' has the layers 0 to "
                f"{base.sites.num_layers - 1}. The graft was made for a base of more layers. Load the base it was "
                "made for."
            )
        sublayer = base.sites.sublayer(index, cast("SublayerName", name))

        def keep_input(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            self.current.inputs[place] = arguments[0]

        def correct(_: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            return self._correct(place, sublayer, stacked, output)

        self.handles.append(sublayer.input.register_forward_pre_hook(keep_input))
        self.handles.append(sublayer.output.register_forward_hook(correct))

    def _correct(
        self, place: Place, sublayer: Sublayer, stacked: list[BottleneckLayers], output: Tensor
    ) -> Tensor:
        inp = self.current.inputs.pop(place)
        # The norm's own forward, not a call: a call would run its hooks a second time.
        norm: Callable[[Tensor], Tensor] = identity if sublayer.norm is None else sublayer.norm.forward
        h = output
        for layers in stacked:
            h = layers.correct(place, SublayerState(h=h, origin=output, inp=inp, norm=norm))
        self.current.reached.add(place)
        return h

    def _make_narrowing(self, index: int) -> Callable[..., Tensor]:
        def narrow(_: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            # Compiled layers would be compiled anew for every number of places.
            if torch.compiler.is_compiling() or self.current.narrow_in != index:
                return output
            wanted = self.current.wanted
            assert wanted is not None
            self.current.is_narrow = True
            return pick(output, wanted)[None]

        return narrow

    def _make_stop_before(self, count: int) -> Callable[..., None]:
        def stop(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            self._stop(count, arguments[0])

        return stop

    def _make_stop_after(self, count: int) -> Callable[..., None]:
        def stop(_: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
            self._stop(count, output if isinstance(output, torch.Tensor) else output[0])

        return stop

    def _stop(self, count: int, hidden: Tensor) -> None:
        if self.current.stop_after == count:
            self.current.stopped = hidden
            raise LayerReached
