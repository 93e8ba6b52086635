"""What a graft is made of that is trained without a recipe."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from polygraft.errors import OptionError, PlanError
from polygraft.parts.bottleneck import BottleneckLayers
from polygraft.parts.fusion import Fusion
from polygraft.parts.head import Head, PieceHeadLayers
from polygraft.parts.invertible import Invertible
from polygraft.parts.reach import SublayerLayers
from polygraft.recipe.learned import count_taken, list_names, make_learned_parts, write_names
from polygraft.recipe.methods import BOTTLENECK
from polygraft.types import TEXT_OBJECTIVES

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base
    from polygraft.parts.part import Part
    from polygraft.recipe.order import Order


def list_parts(
    order: Order, *, skip_layers: Sequence[int], head: Head | None, fused: Collection[Graft] = ()
) -> list[Part]:
    """List its parts.

    Args:
        order: What is asked for.
        skip_layers: Layers in which it does not learn.
        head: Its head, if any.
        fused: The frozen grafts that it mixes, if any.

    Raises:
        OptionError: It would have none, or the part or an option of it is unknown.
    """
    parts = _list_beside_head(order, skip_layers=skip_layers, fused=fused)
    if head is not None:
        parts.append(head)
    if not parts:
        raise _refuse_nothing(order)
    return parts


def check_parts(order: Order) -> None:
    """Refuse what no base could take, so that none has to be loaded for it.

    Args:
        order: What is asked for.

    Raises:
        OptionError: It would have no parts, or the part or an option of it is unknown or cannot be meant.
    """
    has_head = order.head_layer is not None or order.objective not in TEXT_OBJECTIVES
    if not _list_beside_head(order, skip_layers=order.skip_layers, fused=()) and not has_head:
        raise _refuse_nothing(order)


def _refuse_nothing(order: Order) -> OptionError:
    return OptionError(
        f"The graft '{order.name}' would have no part: the reduction is 0, and no head or invertible part is asked "
        "for. Give a reduction above 0, such as 2."
    )


def _list_beside_head(order: Order, *, skip_layers: Sequence[int], fused: Collection[Graft]) -> list[Part]:
    name = order.name
    parts: list[Part] = []
    if order.fuse:
        if order.part != BOTTLENECK or order.options:
            raise OptionError(
                f"The graft '{name}' was to mix other grafts and to learn with the part {write_names(order.part)}. "
                "Expected one of the two. Leave out --fuse, or --part and --option."
            )
        # Where one of the grafts has something behind the attention too, that is mixed as well.
        is_wide = any(
            name == "attention"
            for graft in fused
            for layers in graft.layers.children()
            if isinstance(layers, SublayerLayers)
            for _, name in layers.list_places()
        )
        placement = "attention+ffn" if is_wide else "ffn"
        parts.append(Fusion(placement=placement, skip_layers=tuple(skip_layers)))
    else:
        parts += list_learned_parts(order, skip_layers=skip_layers)
    if order.invertible:
        if any(part.kind == Invertible.kind for part in parts):
            raise OptionError(
                f"The graft '{name}' was to have an invertible part twice, by --invertible and by --part. Expected it "
                "once. Leave out one of the two."
            )
        parts.append(Invertible())
    return parts


def list_learned_parts(order: Order, *, skip_layers: Sequence[int]) -> list[Part]:
    """List the parts that an order asks for by name; a bottleneck with a reduction of 0 is none.

    Args:
        order: What is asked for.
        skip_layers: Layers in which it does not learn.
    """
    names = tuple(name for name in list_names(order.part) if name != BOTTLENECK or order.reduction)
    if not names:
        return []
    asked = [f"--skip-layer {layer}" for layer in order.skip_layers]
    asked += [] if order.from_layer is None else [f"--from-layer {order.from_layer}"]
    return make_learned_parts(
        names,
        order.options,
        skip_layers=skip_layers,
        from_text=order.objective in TEXT_OBJECTIVES,
        usual={BOTTLENECK: {"reduction": order.reduction}},
        asked=" ".join(asked),
    )


def count_taken_by(order: Order, below: Mapping[str, Graft]) -> int:
    """Count the places that prompts take before the pieces of a row: those of the graft, and of those below it."""
    own = [] if order.fuse else list_learned_parts(order, skip_layers=())
    return count_taken(own) + sum(graft.num_taken for graft in below.values())


def list_skipped_layers(
    base: Base,
    below: Mapping[str, Graft],
    *,
    name: str,
    reads: int | None,
    skip_layers: Sequence[int],
    from_layer: int | None,
) -> tuple[int, ...]:
    """List the layers in which a graft that learns from plain text gets no bottleneck.

    Args:
        base: The frozen base.
        below: The frozen grafts below it.
        name: What the graft is called.
        reads: After how many layers its own masked-LM head reads, -1 for all; None where it has no head.
        skip_layers: Layers that were to be left out.
        from_layer: The first layer that was to have one; None leaves that open.

    Raises:
        PlanError: There is no masked-LM head to learn against.
        OptionError: `from_layer` leaves no layer.
    """
    num_layers = base.sites.num_layers
    above = range(_find_read_layers(base, below, name=name, reads=reads), num_layers)
    skipped = {*skip_layers, *above, *_list_restored_layers(below)}
    if from_layer is None:
        return tuple(sorted(skipped))
    free = [layer for layer in range(num_layers) if not skipped & {layer, layer - num_layers}]
    if free and not 0 <= from_layer <= free[-1]:
        raise OptionError(
            f"The bottleneck of '{name}' would begin at layer {from_layer}, and the layers that may have one are "
            f"{', '.join(map(str, free))}, counted from 0. Expected a number from 0 to {free[-1]}. Give another "
            "--from-layer."
        )
    return tuple(sorted({*skipped, *range(from_layer)}))


def _find_read_layers(base: Base, below: Mapping[str, Graft], *, name: str, reads: int | None) -> int:
    """Give how many layers the masked-LM head in force reads."""
    if reads is not None:
        layer = reads
    else:
        heads = [graft.find_head() for graft in below.values()]
        layers = [head.options.layer for head in heads if isinstance(head, PieceHeadLayers)]
        if not layers and base.head is None:
            raise PlanError(
                f"The base '{base.name}' has no {TEXT_OBJECTIVES[base.guesses]} head, and no graft below '{name}' has "
                "one. Expected one to "
                "train against. Train one with it (--head-layer 8), or name a graft that has one (--under mlm)."
            )
        layer = layers[-1] if layers else -1
    return base.sites.num_layers if layer == -1 else layer


def _list_restored_layers(below: Mapping[str, Graft]) -> set[int]:
    """List the layers with a bottleneck of a graft that has a masked-LM head: language grafts stand below it."""
    return {
        layer
        for graft in below.values()
        if isinstance(graft.find_head(), PieceHeadLayers)
        for layers in graft.layers.children()
        if isinstance(layers, BottleneckLayers)
        for layer, _ in layers.list_places()
    }
