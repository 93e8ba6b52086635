"""Hooks on the linear maps of a base, for parts that change what these read or give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from polygraft.attach.acts import InputAct, OutputAct
from polygraft.attach.tree import Step, Tree, localise_all
from polygraft.base.projections import Projection, find_projection
from polygraft.errors import GraftError
from polygraft.parts.reach import ProjectionLayers

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

    from polygraft.attach.depth import Place
    from polygraft.attach.graft import Graft
    from polygraft.attach.passes import Pass
    from polygraft.base.base import Base
    from polygraft.types import ProjectionRole

LinearPlace = tuple[int, "ProjectionRole"]
Changes = list[tuple[LinearPlace, Projection, list[Step | None]]]
"""The maps that one layer of the base computes and grafts change, and what each member does there."""


class LinearHooks:
    """The hooks on linear maps of one attachment.

    Args:
        base: The base.
        members: What each row may go through.
        grafts: All grafts of the members.
        current: Gives the pass in progress.
    """

    def __init__(
        self,
        base: Base,
        members: Sequence[Tree | None],
        grafts: Sequence[Graft],
        *,
        current: Callable[[], Pass],
    ) -> None:
        self.current = current
        self.places: set[Place] = set()
        self.handles: list[RemovableHandle] = []
        outputs, inputs = _list_places(grafts)
        for place in inputs:
            projection = self._find(base, place)
            _refuse_shared_input(base, place, projection)
            steps = localise_all(members, find=_make_finder(place, _list_inputs))
            self.handles.append(projection.linear.register_forward_pre_hook(self._make_input(place, steps)))
        by_linear: dict[nn.Module, Changes] = {}
        for place in outputs:
            projection = self._find(base, place)
            steps = localise_all(members, find=_make_finder(place, _list_outputs))
            by_linear.setdefault(projection.linear, []).append((place, projection, steps))
        for linear, changes in by_linear.items():
            self.handles.append(linear.register_forward_hook(self._make_output(changes)))

    def _find(self, base: Base, place: LinearPlace) -> Projection:
        self.places.add(place)
        return find_projection(base.sites, layer=place[0], role=place[1])

    def _make_input(self, place: LinearPlace, steps: Sequence[Step | None]) -> Callable[..., Any]:
        def change(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            current = self.current()
            current.reached.add(place)
            x = current.change(steps, arguments[0], act=lambda _: InputAct(place=place))
            return (x, *arguments[1:])

        return change

    def _make_output(self, changes: Changes) -> Callable[..., Tensor]:
        def change(_: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            runs: list[tuple[slice, Tensor]] = []
            for place, projection, steps in changes:
                y = output[..., projection.rows]
                changed = self._change(place, projection, steps, arguments[0], y)
                if changed is not y:
                    runs.append((projection.rows, changed))
            return _put_runs(output, runs)

        return change

    def _change(
        self,
        place: LinearPlace,
        projection: Projection,
        steps: Sequence[Step | None],
        x: Tensor,
        y: Tensor,
    ) -> Tensor:
        current = self.current()
        current.reached.add(place)
        weight, bias = projection.weight, projection.bias

        def act(_: Tensor, own_x: Tensor) -> OutputAct:
            return OutputAct(place=place, x=own_x, weight=weight, bias=bias)

        return current.change(steps, y, x, act=act)


def _list_outputs(layers: ProjectionLayers) -> Sequence[LinearPlace]:
    return layers.list_outputs()


def _list_inputs(layers: ProjectionLayers) -> Sequence[LinearPlace]:
    return layers.list_inputs()


def _put_runs(output: Tensor, runs: Sequence[tuple[slice, Tensor]]) -> Tensor:
    """Give an output with some runs of its last axis replaced."""
    if not runs:
        return output
    pieces: list[Tensor] = []
    at = 0
    for rows, changed in sorted(runs, key=lambda run: run[0].start):
        pieces += [output[..., at : rows.start], changed] if rows.start > at else [changed]
        at = rows.stop
    if at < output.shape[-1]:
        pieces.append(output[..., at:])
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=-1)


def _list_places(grafts: Sequence[Graft]) -> tuple[list[LinearPlace], list[LinearPlace]]:
    found = [layers for graft in grafts for layers in graft.list_layers(ProjectionLayers)]
    outputs = {place for layers in found for place in layers.list_outputs()}
    inputs = {place for layers in found for place in layers.list_inputs()}
    return sorted(outputs), sorted(inputs)


def _make_finder(
    place: LinearPlace, list_places: Callable[[ProjectionLayers], Sequence[LinearPlace]]
) -> Callable[[Graft], list[ProjectionLayers]]:
    def find(graft: Graft) -> list[ProjectionLayers]:
        return [layers for layers in graft.list_layers(ProjectionLayers) if place in list_places(layers)]

    return find


def _refuse_shared_input(base: Base, place: LinearPlace, projection: Projection) -> None:
    layer, role = place
    if projection.num_rows != projection.num_outputs:
        raise GraftError(
            f"A graft of the plan changes what '{role}' in layer {layer} reads, and in the base '{base.name}' one "
            "layer computes it together with others from the same input. Expected a map that stands alone, such as "
            "'down' or 'output'. Change what it gives instead."
        )
