"""Leave pruned units out of a base's weights, so that what is left computes what the masked base computes.

Pure tensor work: `base/compact.py` writes the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polygraft.base.units import (
    UNITS_OF,
    Units,
    UnitSlice,
    find_family_units,
    find_kept_units,
    list_units,
)
from polygraft.errors import GraftError, OptionError, nearest

if TYPE_CHECKING:
    from polygraft.base.base import Base


@dataclass(frozen=True, kw_only=True)
class Shrunk:
    """The weights of a smaller base."""

    weights: dict[str, Tensor]
    """All tensors of the encoder, by the names that they have in the base."""
    sizes: dict[str, int]
    """The keys of the configuration that say how many units a layer has, with their values."""
    notes: tuple[str, ...]
    """Sentences about what was masked and could not be left out."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Which units stand where in a layer of the smaller base; -1 is a place that is filled up with zeros."""

    units: Tensor
    runs: Tensor
    """The same for tensors whose weights several units share: key and value heads."""

    @property
    def num_filled(self) -> int:
        """Count the places without a unit."""
        return int((self.units < 0).sum())


def shrink_base(
    base: Base, *, masks: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None = None, multiple: int = 8
) -> Shrunk:
    """Mask the weights of a base and leave out the units of which no output weight survives.

    Args:
        base: The base, with its weights as they are now. It is not changed.
        masks: Boolean tensors by the names of weights, True for what survives; a tensor without a mask survives whole.
        weights: Values that take the place of the base's own, by name, such as those retrained under the masks.
        multiple: The number of neurons is rounded up to a multiple of it where the base has as many.

    Raises:
        BaseModelError: Where the family's units are is not known.
        GraftError: A mask or a tensor of values does not fit the base.
        OptionError: `multiple` is less than 1.
    """
    if multiple < 1:
        raise OptionError(
            f"The number of neurons is to be rounded up to a multiple of {multiple}. Expected 1 or more. Pass 8, or 1 "
            "to have no more neurons than are kept."
        )
    family = find_family_units(base.sites.family.name)
    tensors = _mask_weights(base, masks=masks, weights=weights or {})
    notes: list[str] = []
    neurons = list_units(base, kind="neurons")
    kept_neurons = [find_kept_units(units, masks=masks) for units in neurons]
    places = _place_neurons(kept_neurons, multiple=multiple)
    notes += _note_neurons(kept_neurons, places)
    sizes = {family.neurons_key: len(places[0].units)}
    _take_units(tensors, neurons, places)

    heads = list_units(base, kind="heads")
    kept_heads = [find_kept_units(units, masks=masks) for units in heads]
    if family.has_head_size:
        num_sharing = max(part.num_sharing for part in heads[0].slices)
        places = _place_heads(kept_heads, num_sharing=num_sharing, hidden=base.sites.hidden)
        notes += _note_heads(kept_heads, places)
        sizes |= {"num_attention_heads": len(places[0].units), "num_key_value_heads": len(places[0].runs)}
        if "head_dim" not in base.model.config.to_dict():
            # Qwen 2's configuration takes it, and has it from the number of heads where it is not there.
            sizes["head_dim"] = heads[0].output.size
        _take_units(tensors, heads, places)
    else:
        sizes |= {"num_attention_heads": heads[0].num_units}
        notes += _note_heads_that_stay(kept_heads, base.sites.family.name)
    return Shrunk(weights=tensors, sizes=sizes, notes=tuple(notes))


def _mask_weights(
    base: Base, *, masks: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    tensors = {name: tensor.detach() for name, tensor in base.model.state_dict().items()}
    for name, kind, given in _list_given(masks, weights):
        if name not in tensors:
            raise GraftError(
                f"There are {kind} for '{name}', which is no tensor of the base '{base.name}'. Expected names such as "
                f"'{next(iter(tensors))}'.{nearest(name, tensors)} Take those made for this base."
            )
        if given.shape != tensors[name].shape or (kind == "masks" and given.dtype != torch.bool):
            raise GraftError(
                f"The {kind} for '{name}' have the shape {list(given.shape)} and the type "
                f"{str(given.dtype).removeprefix('torch.')}. Expected {list(tensors[name].shape)} and "
                f"{'bool' if kind == 'masks' else 'numbers'}. Take those made for this base."
            )
        if kind == "masks":
            tensors[name] = tensors[name].masked_fill(~given.to(tensors[name].device), 0)
        else:
            tensors[name] = given.detach().to(tensors[name])
    return tensors


def _list_given(
    masks: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> Iterator[tuple[str, str, Tensor]]:
    yield from ((name, "values", given) for name, given in weights.items())
    yield from ((name, "masks", given) for name, given in masks.items())


def _place_neurons(kept: list[Tensor], *, multiple: int) -> list[Places]:
    most = max(1, *(int(each.sum()) for each in kept))
    size = min(-(-most // multiple) * multiple, len(kept[0]))
    columns = [_fill_up(each.nonzero().flatten(), size) for each in kept]
    return [Places(units=each, runs=each) for each in columns]


def _place_heads(kept: list[Tensor], *, num_sharing: int, hidden: int) -> list[Places]:
    """Choose the fewest heads that hold what every layer keeps: R runs of S heads, R * S a divisor of `hidden`."""
    grouped = [each.view(-1, num_sharing) for each in kept]
    least_runs = max(1, *(int(each.any(dim=1).sum()) for each in grouped))
    least_sharing = max(1, *(int(each.sum(dim=1).max()) for each in grouped))
    _, num_runs, width = min(
        (runs * sharing, runs, sharing)
        for runs in range(least_runs, len(grouped[0]) + 1)
        for sharing in range(least_sharing, num_sharing + 1)
        # transformers refuses another number, also where a head's size is given.
        if hidden % (runs * sharing) == 0 or (runs, sharing) == tuple(grouped[0].shape)
    )
    places: list[Places] = []
    for each in grouped:
        runs = _fill_up(each.any(dim=1).nonzero().flatten(), num_runs)
        units = [
            _fill_up(each[run].nonzero().flatten() + run * num_sharing, width)
            if run >= 0
            else run.expand(width)
            for run in runs
        ]
        places.append(Places(units=torch.cat(units), runs=runs))
    return places


def _fill_up(indices: Tensor, size: int) -> Tensor:
    return torch.cat([indices, indices.new_full((size - len(indices),), -1)])


def _take_units(tensors: dict[str, Tensor], layers: list[Units], places: list[Places]) -> None:
    for units, chosen in zip(layers, places, strict=True):
        for part in units.slices:
            taken = chosen.units if part.num_sharing == 1 else chosen.runs
            tensors[part.name] = _take_runs(tensors[part.name], part, taken)


def _take_runs(tensor: Tensor, part: UnitSlice, places: Tensor) -> Tensor:
    """Take the runs at `places` out of a tensor, in every fused matrix, with zeros at -1."""
    rows = tensor.movedim(part.axis, 0)
    rest = rows.shape[1:]
    runs = rows.reshape(part.num_fused, -1, part.size, *rest)
    places = places.to(tensor.device)
    taken = runs[:, places.clamp(min=0)]
    taken[:, places < 0] = 0
    return taken.reshape(-1, *rest).movedim(0, part.axis).contiguous()


def _note_neurons(kept: list[Tensor], places: list[Places]) -> list[str]:
    num_filled = sum(each.num_filled for each in places)
    if num_filled == 0:
        return []
    counts = [int(each.sum()) for each in kept]
    if min(counts) == max(counts):
        return [
            f"Every layer keeps {counts[0]} of {len(kept[0])} neurons. Their number is rounded up to "
            f"{len(places[0].units)}, so that {num_filled} places are filled up with zeros."
        ]
    return [
        f"The layers keep from {min(counts)} to {max(counts)} of {len(kept[0])} neurons, and a configuration has one "
        f"number for all of them: it is {len(places[0].units)}, and {num_filled} places are filled up with zeros."
    ]


def _note_heads(kept: list[Tensor], places: list[Places]) -> list[str]:
    num_filled = sum(each.num_filled for each in places)
    if num_filled == 0:
        return []
    counts = [int(each.sum()) for each in kept]
    return [
        f"The layers keep from {min(counts)} to {max(counts)} of {len(kept[0])} heads, and a configuration has one "
        f"number for all of them, which divides the hidden size: it is {len(places[0].units)}, and {num_filled} places "
        "are filled up with zeros."
    ]


def _note_heads_that_stay(kept: list[Tensor], family: str) -> list[str]:
    num_masked = sum(int((~each).sum()) for each in kept)
    if num_masked == 0:
        return []
    others = ", ".join(name for name, row in UNITS_OF.items() if row.has_head_size)
    return [
        f"{num_masked} of {sum(map(len, kept))} heads are masked and stay as zeros: in the family '{family}' a head's "
        "size is the hidden size by the number of heads, so that fewer heads would be larger ones. Heads can be left "
        f"out in {others}."
    ]
