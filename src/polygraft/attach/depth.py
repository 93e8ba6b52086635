"""How much of a base stands below the first value of a graft."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polygraft.parts.edit import EditLayers
from polygraft.parts.head import HeadLayers, PieceHeadLayers
from polygraft.parts.reach import list_touched_layers

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft


def count_layers_below(graft: Graft, *, num_layers: int) -> int:
    """Count the layers of a base that a graft neither stands in nor below.

    What these layers give depends on nothing that is learned while only this graft is trained.

    Args:
        graft: The graft.
        num_layers: Layers of the base (L).

    Example:
        >>> graft = make_graft(base, "ner", [Bottleneck(skip_layers=(0, 1))])  # doctest: +SKIP
        >>> count_layers_below(graft, num_layers=12)  # doctest: +SKIP
        2
    """
    lowest = num_layers
    for layers in graft.layers.children():
        touched = list_touched_layers(layers)
        if touched is not None:
            lowest = min(lowest, *touched)
        elif isinstance(layers, HeadLayers | PieceHeadLayers):
            reads = layers.options.layer
            lowest = min(lowest, num_layers if reads == -1 else reads)
        elif isinstance(layers, EditLayers):
            lowest = min(lowest, layers.lowest_layer)
        else:
            return 0
    return lowest
