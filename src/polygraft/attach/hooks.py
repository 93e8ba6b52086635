"""The hooks by which grafts change what a base computes.

One forward pass leaves what later hooks need in a `Pass`, which belongs to the attachment: nothing
is global. Every hook is removed with the attachment, and the base is again what it was.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch

from polygraft.attach.acts import EmbeddingAct, SublayerAct
from polygraft.attach.depth import Depth, Place, find_below
from polygraft.attach.linear import LinearHooks
from polygraft.attach.passes import Pass, bound_places
from polygraft.attach.prefixes import PrefixHooks
from polygraft.attach.tree import Chain, Leaf, Step, Tree, list_stacked, localise_all, walk_grafts
from polygraft.errors import GraftError
from polygraft.parts.reach import (
    EmbeddingLayers,
    MixingLayers,
    PromptLayers,
    SublayerLayers,
    list_touched_layers,
)

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base
    from polygraft.base.sites import Sublayer, SublayerName


class LayerReached(Exception):  # noqa: N818
    """Ends a forward pass at the layer whose output was asked for; never leaves `attach`."""


def identity(x: Tensor) -> Tensor:
    """Give the argument back."""
    return x


def pick(hidden: Tensor, places: Tensor) -> Tensor:
    """Take hidden states [B, T, D] at some places [N], each `row * T + column`: [N, D]."""
    return hidden.flatten(0, 1).index_select(0, places)


class Hooks:
    """All hooks of one attachment.

    Args:
        base: The base.
        members: What each row may go through; one for all rows in most plans, None for the bare base.
    """

    def __init__(self, base: Base, members: Sequence[Tree | None]) -> None:
        self.current = Pass()
        self.places: set[Place] = set()
        """Where a graft acts; a pass that comes by the layer must come by the place."""
        self.corrections: dict[Place, Callable[[Tensor, Tensor], Tensor]] = {}
        """What makes the corrected output of each of these sublayers from its residual input and its output."""
        self.handles: list[RemovableHandle] = []
        self.prefixes: PrefixHooks | None = None
        try:
            self._hook_all(base, members)
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Take every hook off the base."""
        for handle in self.handles:
            handle.remove()
        self.handles.clear()
        if self.prefixes is not None:
            self.prefixes.remove()

    def get_current(self) -> Pass:
        """Give the pass in progress."""
        return self.current

    def _hook_all(self, base: Base, members: Sequence[Tree | None]) -> None:
        trees = [tree for tree in members if tree is not None]
        grafts = list(dict.fromkeys(graft for tree in trees for graft in walk_grafts(tree)))
        _check_layers(base, grafts)
        self._hook_prompts(base, members)
        self._hook_embeddings(base, members)
        # First, since a sublayer may end in a linear map: what the map gives is what the sublayer's correction reads.
        linear = LinearHooks(base, members, grafts, current=self.get_current)
        self.handles += linear.handles
        for place in list_sublayers(grafts):
            self._hook_sublayer(base, place, localise_all(members, find=_make_finder(place)))
        self.prefixes = PrefixHooks(base, members, current=self.get_current)
        self.places |= linear.places | self.prefixes.places
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

    def _hook_prompts(self, base: Base, members: Sequence[Tree | None]) -> None:
        stacked = [list_stacked(tree, PromptLayers, what="prompt") for tree in members]
        if not any(stacked):
            return

        def put(_: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            found = [] if self.current.segments is not None else stacked[self.current.member]
            if not found or self.current.start:
                return output
            prompt = torch.cat([layers.make_prompt() for layers in found]).to(output.dtype)
            return torch.cat([prompt.expand(len(output), -1, -1), output[:, len(prompt) :]], dim=1)

        self.handles.append(base.sites.word_embeddings.register_forward_hook(put))

    def _hook_embeddings(self, base: Base, members: Sequence[Tree | None]) -> None:
        # One after the other even where their grafts are fused, which happens behind sublayers only.
        chains = [None if tree is None else Chain(tuple(map(Leaf, walk_grafts(tree)))) for tree in members]
        steps = localise_all(chains, find=lambda graft: graft.list_layers(EmbeddingLayers))
        if all(step is None for step in steps):
            return

        def change(_: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            if self.current.start:
                return output
            num_added = self.current.num_added
            if num_added == 0:
                return self.current.change(steps, output, act=EmbeddingAct)
            # A prompt is learned as what the base is to see, whatever language's embeddings stand behind it.
            # Contiguous, because PyTorch's products of a view depend on whether the weights are frozen.
            pieces = output[:, num_added:].contiguous()
            changed = self.current.change(steps, pieces, act=EmbeddingAct)
            return torch.cat([output[:, :num_added], changed], dim=1)

        self.handles.append(base.sites.embeddings.register_forward_hook(change))

    def _hook_sublayer(self, base: Base, place: Place, steps: Sequence[Step | None]) -> None:
        index, name = place
        sublayer = base.sites.sublayer(index, cast("SublayerName", name))
        self.places.add(place)

        def keep_input(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            self.current.inputs[place] = arguments[0]

        def correct(_: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            inp = self.current.inputs.pop(place)
            self._stop(find_below(place), inp, output)
            return self._correct(place, sublayer, steps, inp, output)

        self.corrections[place] = functools.partial(self._correct, place, sublayer, steps)

        self.handles.append(sublayer.input.register_forward_pre_hook(keep_input, prepend=True))
        self.handles.append(sublayer.output.register_forward_hook(correct))

    def _correct(
        self, place: Place, sublayer: Sublayer, steps: Sequence[Step | None], inp: Tensor, output: Tensor
    ) -> Tensor:
        # The norm's own forward, not a call: a call would run its hooks a second time.
        norm: Callable[[Tensor], Tensor] = identity if sublayer.norm is None else sublayer.norm.forward

        def act(origin: Tensor, own_inp: Tensor) -> SublayerAct:
            return SublayerAct(place, origin=origin, inp=own_inp, norm=norm)

        self.current.reached.add(place)
        return self.current.change(steps, output, inp, act=act)

    def _make_narrowing(self, index: int) -> Callable[..., Tensor]:
        def narrow(_: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            # Compiled layers would be compiled anew for every number of places.
            if torch.compiler.is_compiling() or self.current.narrow_in != index:
                return output
            wanted = self.current.wanted
            assert wanted is not None
            if self.current.segments is not None:
                num_tokens = output.shape[1]
                self.current.narrow_bounds = bound_places(
                    wanted, self.current.segments, num_tokens=num_tokens
                )
            self.current.is_narrow = True
            return pick(output, wanted)[None]

        return narrow

    def _make_stop_before(self, count: int) -> Callable[..., None]:
        def stop(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            self._stop(Depth(count), arguments[0])

        return stop

    def _make_stop_after(self, count: int) -> Callable[..., None]:
        def stop(_: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
            self._stop(Depth(count), output if isinstance(output, torch.Tensor) else output[0])

        return stop

    def _stop(self, depth: Depth, *given: Tensor) -> None:
        if self.current.stop == depth:
            self.current.stopped = given
            raise LayerReached


def list_sublayers(grafts: Sequence[Graft]) -> list[Place]:
    """List the sublayers that grafts correct, lowest first."""
    found = {
        place
        for graft in grafts
        for layers in graft.layers.children()
        if isinstance(layers, SublayerLayers | MixingLayers)
        for place in layers.list_places()
    }
    return sorted(found)


def _make_finder(place: Place) -> Callable[[Graft], list[nn.Module]]:
    def find(graft: Graft) -> list[nn.Module]:
        return [
            layers
            for layers in graft.layers.children()
            if isinstance(layers, SublayerLayers | MixingLayers) and place in layers.list_places()
        ]

    return find


def _check_layers(base: Base, grafts: Sequence[Graft]) -> None:
    num_layers = base.sites.num_layers
    for graft in grafts:
        for layers in graft.layers.children():
            # The lowest of those that the base does not have.
            index = min((each for each in list_touched_layers(layers) or () if each >= num_layers), default=0)
            if index >= num_layers:
                raise GraftError(
                    f"A graft of the plan stands in layer {index}, and the base '{base.name}' has the layers 0 to "
                    f"{num_layers - 1}. The graft was made for a base of more layers. Load the base it was "
                    "made for."
                )
