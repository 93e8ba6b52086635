"""How much of a base stands below the first value of a graft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from polygraft.parts.edit import EditLayers
from polygraft.parts.head import HeadLayers, PieceHeadLayers
from polygraft.parts.reach import MixingLayers, SublayerLayers, list_touched_layers

if TYPE_CHECKING:
    from torch import nn

    from polygraft.attach.graft import Graft
    from polygraft.base.sites import Sites


Place = tuple[int, str]
"""A layer's index and a name in it: `attention` or `ffn` for sublayers, a role for linear maps, `prefix`."""


@dataclass(frozen=True, order=True)
class Depth:
    """How far up in a base something stands; of two depths the smaller one is the lower."""

    layers: int = 0
    """Whole layers below it, from the lowest."""
    in_layer: bool = False
    """Whether it is inside the next layer: where its feed-forward sublayer has given its output, uncorrected."""

    def __bool__(self) -> bool:
        return self.layers > 0 or self.in_layer

    @property
    def whole(self) -> Depth:
        """The depth between the whole layers below it and the next one."""
        return Depth(self.layers)


def find_depth(graft: Graft, *, sites: Sites) -> Depth:
    """Find the depth below which a graft neither stands nor reaches.

    What stands there depends on nothing that is learned while only this graft is trained.

    Args:
        graft: The graft.
        sites: Where the base has its layers.

    Example:
        >>> graft = make_graft(base, "ner", [Bottleneck(skip_layers=(0, 1))])  # doctest: +SKIP
        >>> find_depth(graft, sites=base.sites)  # doctest: +SKIP
        Depth(layers=2, in_layer=True)
    """
    top = Depth(sites.num_layers)
    depth = min((_find_lowest(layers, top=top) for layers in graft.layers.children()), default=top)
    return Depth() if depth.layers == 0 and sites.family.looks_back else depth


def can_begin_inside(depth: Depth, *, last: int) -> bool:
    """Whether a pass that begins at a depth inside a layer gives the numbers of a whole one to the bit.

    The last layer of a pass computes its feed-forward part for the places that are read, which rounds otherwise than
    for all.

    Args:
        depth: Where it would begin.
        last: After how many layers it stops.
    """
    return depth.in_layer and depth.layers < last - 1


def find_below(place: Place) -> Depth:
    """Find the depth below a place in a base's layers: that of its layer, or inside it."""
    layer, name = place
    return Depth(layer, name == "ffn")


def _find_lowest(layers: nn.Module, *, top: Depth) -> Depth:
    if isinstance(layers, SublayerLayers | MixingLayers):
        return min(map(find_below, layers.list_places()), default=top)
    touched = list_touched_layers(layers)
    if touched is not None:
        return min(map(Depth, touched), default=top)
    if isinstance(layers, HeadLayers | PieceHeadLayers):
        reads = layers.options.layer
        return top if reads == -1 else Depth(reads)
    return Depth(layers.lowest_layer) if isinstance(layers, EditLayers) else Depth()
