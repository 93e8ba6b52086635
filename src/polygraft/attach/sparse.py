"""Grafts made of masks, and the masks that grafts are made of."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

import torch
from torch import Tensor

from polygraft.attach.graft import Graft, make_graft, measure_base
from polygraft.errors import GraftError
from polygraft.parts.delta import Delta, DeltaLayers
from polygraft.parts.edit import Edit, EditLayers, mark
from polygraft.parts.mask import Mask, MaskLayers
from polygraft.parts.places import encode_places
from polygraft.parts.scores import ScoresLayers

if TYPE_CHECKING:
    from polygraft.base.base import Base
    from polygraft.parts.part import Part
    from polygraft.types import WeightInfo

ValueFormat = Literal["float32", "float16"]
Found = TypeVar("Found", bound=EditLayers)


def make_delta(
    base: Base,
    name: str,
    masks: Mapping[str, Tensor],
    *,
    weights: Sequence[str] = ("linear",),
    skip_layers: Sequence[int] = (),
    values: Mapping[str, Tensor] | None = None,
    dtype: ValueFormat = "float32",
    others: Sequence[Part] = (),
    seed: int = 0,
) -> Graft:
    """Make a graft that adds differences at the places of a mask.

    Args:
        base: The base.
        name: What plans call it.
        masks: Which places of each weight may change, bool of the weight's shape; a weight that is missing has none.
        weights: The weights that the part is about: roles or patterns of names.
        skip_layers: Layers left out.
        values: The differences, dense, by weight; None is zero.
        dtype: Number format of the values.
        others: Further parts of the graft, such as a head.
        seed: Where random values of these come from.

    Raises:
        OptionError: `weights` or `skip_layers` mean nothing.
        GraftError: A mask is of a weight that the part is not about, or of another shape.
    """
    edit = Delta(weights=tuple(weights), skip_layers=tuple(skip_layers))
    flat = _flatten(base, edit, masks, name=name)
    code = encode_places(flat)
    part = Delta(
        weights=edit.weights,
        skip_layers=edit.skip_layers,
        num_values=sum(int(mask.sum()) for mask in flat),
        num_code_bytes=len(code),
        dtype=dtype,
    )
    graft = make_graft(base, name, [part, *others], seed=seed)
    layers = find_edit(graft, DeltaLayers)
    assert layers.places is not None
    with torch.no_grad():
        layers.places.get_buffer("code").copy_(code)
        if values is not None:
            layers.values.copy_(_gather(layers, flat, values))
    return graft


def make_mask(
    base: Base,
    name: str,
    kept: Mapping[str, Tensor],
    *,
    weights: Sequence[str] = ("linear",),
    skip_layers: Sequence[int] = (),
    values: Mapping[str, Tensor] | None = None,
    valued: Mapping[str, Tensor] | None = None,
    dtype: ValueFormat = "float32",
    others: Sequence[Part] = (),
    seed: int = 0,
) -> Graft:
    """Make a graft that keeps the places of a mask and sets the other weights to zero.

    Args:
        base: The base.
        name: What plans call it.
        kept: Which places of each weight survive, bool of the weight's shape; a weight that is missing has none.
        weights: The weights that the part is about: roles or patterns of names.
        skip_layers: Layers left out.
        values: What the survivors are, dense, by weight; None leaves them as they are.
        valued: Which of the survivors have values of their own, where not all have.
        dtype: Number format of the values.
        others: Further parts of the graft, such as a head.
        seed: Where random values of these come from.

    Raises:
        OptionError: `weights` or `skip_layers` mean nothing.
        GraftError: A mask is of a weight that the part is not about, or of another shape.
    """
    edit = Mask(weights=tuple(weights), skip_layers=tuple(skip_layers))
    flat = _flatten(base, edit, kept, name=name)
    code = encode_places(flat)
    own = None if valued is None else _flatten(base, edit, valued, name=name)
    own_code = None if own is None else encode_places(own)
    part = Mask(
        weights=edit.weights,
        skip_layers=edit.skip_layers,
        num_kept=sum(int(mask.sum()) for mask in flat),
        num_code_bytes=len(code),
        retrained="none" if values is None else "all" if own is None else "some",
        num_values=None if own is None else sum(int(mask.sum()) for mask in own),
        num_value_code_bytes=None if own_code is None else len(own_code),
        dtype=dtype,
    )
    graft = make_graft(base, name, [part, *others], seed=seed)
    layers = find_edit(graft, MaskLayers)
    with torch.no_grad():
        if layers.kept is not None:
            layers.kept.get_buffer("code").copy_(code)
        if layers.valued is not None and own_code is not None:
            layers.valued.get_buffer("code").copy_(own_code)
        if layers.values is not None and values is not None:
            layers.values.copy_(_gather(layers, flat if own is None else own, values))
    return graft


def find_edit(graft: Graft, kind: type[Found]) -> Found:
    """Give the layers of a graft's part of a kind.

    Raises:
        GraftError: It has none.
    """
    for layers in graft.layers.children():
        if isinstance(layers, kind):
            return layers
    raise GraftError(
        f"The graft '{graft.name}' has no {kind.__name__.removesuffix('Layers').lower()}: its parts are "
        f"{', '.join(part.kind for part in graft.parts)}. Name a graft that changes weights."
    )


def find_change(graft: Graft) -> DeltaLayers | MaskLayers:
    """Give the layers that say at which places a graft changes or keeps weights.

    Of a graft with a delta and a mask above it, as movement pruning makes, the mask says what is left.

    Raises:
        GraftError: It has none, or others together.
    """
    found = [layers for layers in graft.layers.children() if isinstance(layers, EditLayers)]
    if not any(isinstance(layers, DeltaLayers | MaskLayers) for layers in found):
        raise GraftError(
            f"The graft '{graft.name}' has no delta and no mask: its parts are "
            f"{', '.join(part.kind for part in graft.parts)}. Expected a graft that changes weights. Name another one."
        )
    kinds, top = [layers.options.kind for layers in found], found[-1]
    if kinds not in (["delta"], ["mask"], ["delta", "mask"]) or not isinstance(top, DeltaLayers | MaskLayers):
        raise GraftError(
            f"The graft '{graft.name}' has {len(found)} parts that change weights: "
            f"{', '.join(kinds)}. Expected a delta, a mask, or a delta and a mask above it. Name another one."
        )
    return top


def mark_places(layers: EditLayers, name: str) -> Tensor:
    """Give which places of a weight a part changes, or keeps in the case of masks: bool of the weight's shape."""
    info = layers.infos[layers.index_of[name]]
    if isinstance(layers, ScoresLayers):
        return ~layers.find_pruned(name).view(info.shape)
    places = layers.find_kept(name) if isinstance(layers, MaskLayers) else layers.find_places(name)
    return mark(places, size=info.size).view(info.shape)


def read_places(layers: EditLayers) -> dict[str, Tensor]:
    """Give which places of each weight a part changes, or keeps in the case of masks: bool of the weight's shape."""
    return {name: mark_places(layers, name) for name in layers.names}


def read_edited(base: Base, layers: EditLayers) -> dict[str, Tensor]:
    """Give the weights that a part makes of the base's own, float32, without changing these."""
    weights = dict(base.model.named_parameters())
    found: dict[str, Tensor] = {}
    for info in layers.infos:
        v = weights[info.name].detach().reshape(-1).to(torch.float32, copy=True)
        layers.edit(info.name, v, at=layers.find_places(info.name))
        found[info.name] = v.view(info.shape)
    return found


def read_values(layers: EditLayers) -> dict[str, Tensor]:
    """Give the values of a part as dense tensors by weight, float32: differences, or survivors; 0 elsewhere.

    They are on the processor, wherever the part is.
    """
    device = next(itertools.chain(layers.parameters(), layers.buffers())).device
    found: dict[str, Tensor] = {}
    for info in layers.infos:
        v = torch.zeros(info.size, device=device)
        layers.edit(info.name, v, at=layers.find_places(info.name))
        found[info.name] = v.view(info.shape).cpu()
    return found


def read_gradients(layers: MaskLayers | DeltaLayers) -> dict[str, Tensor]:
    """Give the gradients of a part's values as dense tensors by weight, float32; 0 where a weight has no value.

    They are on the processor, wherever the part is.

    Raises:
        GraftError: There is none.
    """
    if layers.values is None or layers.values.grad is None:
        raise GraftError(
            "A part's values have no gradient. Expected a loss that was differentiated while they are trained. Call "
            "`backward` first."
        )
    grad = layers.values.grad
    found: dict[str, Tensor] = {}
    for info in layers.infos:
        is_mask = isinstance(layers, MaskLayers)
        places = layers.find_valued(info.name) if is_mask else layers.find_places(info.name)
        dense = torch.zeros(info.size, device=grad.device)
        dense[slice(None) if places is None else places] = grad[layers.find_span(info.name)].float()
        found[info.name] = dense.view(info.shape).cpu()
    return found


def _flatten(base: Base, edit: Edit, masks: Mapping[str, Tensor], *, name: str) -> list[Tensor]:
    """Give a flat mask for each weight of a part, in order."""
    infos: dict[str, WeightInfo] = {info.name: info for info in edit.find_weights(measure_base(base))}
    for key, mask in masks.items():
        if key not in infos:
            raise GraftError(
                f"The graft '{name}' was to have a mask for '{key}', which is none of the {len(infos)} weights that "
                f"{', '.join(edit.weights)} names. Leave it out, or name its weight in `weights`."
            )
        if tuple(mask.shape) != infos[key].shape or mask.dtype != torch.bool:
            raise GraftError(
                f"The graft '{name}' was to have a mask of {mask.dtype} {list(mask.shape)} for '{key}'. Expected bool "
                f"{list(infos[key].shape)}, as the weight has. Give another mask."
            )
    return [
        masks[key].reshape(-1).cpu() if key in masks else torch.zeros(info.size, dtype=torch.bool)
        for key, info in infos.items()
    ]


def _gather(layers: EditLayers, masks: Sequence[Tensor], values: Mapping[str, Tensor]) -> Tensor:
    """Put the values at the places of masks one after the other."""
    return torch.cat(
        [
            values[info.name].detach().reshape(-1).float().cpu()[mask]
            if info.name in values
            else torch.zeros(int(mask.sum()))
            for info, mask in zip(layers.infos, masks, strict=True)
        ]
    )
