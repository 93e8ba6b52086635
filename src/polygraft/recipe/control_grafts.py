"""Makes the grafts that controls are, of a language's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from polygraft.attach.graft import Graft, copy_tensors, make_graft
from polygraft.attach.plan import list_names
from polygraft.data.chance import CONTROLS, make_generator
from polygraft.errors import RecipeError
from polygraft.parts.bitfit import BitFitLayers
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.delta import DeltaLayers
from polygraft.parts.reach import EmbeddingLayers
from polygraft.recipe.control_plans import list_made
from polygraft.recipe.controls import DROP_LAST, RANDOM
from polygraft.recipe.grafts import find_border
from polygraft.recipe.methods import BOTTLENECK
from polygraft.recipe.summable import list_language_kinds

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.attach.plan import Plan
    from polygraft.base.base import Base
    from polygraft.parts.part import Part
    from polygraft.recipe.schema import Recipe
    from polygraft.recipe.workshop import Workshop


def fetch_grafts(workshop: Workshop, plan: Plan) -> dict[str, Graft]:
    """Give the grafts of a plan by name: those of the store, and those that controls make of them.

    Args:
        workshop: What the steps of the run share.
        plan: One of `list_conditions`.

    Raises:
        RecipeError: A graft was not trained yet.
    """
    made = list_made(workshop.recipe)
    grafts: dict[str, Graft] = {}
    for name in (named.name for named in list_names(plan)):
        if name in made:
            control, language = made[name]
            own = workshop.get(workshop.recipe.variant.name_language(language))
            grafts[name] = make_control(
                workshop.base, own, control=control, name=name, seed=workshop.recipe.seed
            )
        else:
            grafts[name] = workshop.get(name)
    return grafts


def make_control(base: Base, graft: Graft, *, control: str, name: str, seed: int) -> Graft:
    """Make the graft of a control of a language's own; it is frozen, and the language's stays as it is.

    Args:
        base: Their base.
        graft: The language's own, trained.
        control: `random`, `drop-last` or `no-invertible`.
        name: What plans call it.
        seed: Where the order of `random` comes from.
    """
    if control == RANDOM:
        return shuffle_values(base, graft, name=name, seed=seed)
    if control == DROP_LAST:
        return drop_last(base, graft, name=name)
    return drop_invertible(base, graft, name=name)


def shuffle_values(base: Base, graft: Graft, *, name: str, seed: int) -> Graft:
    """Make a graft of the same parts with the values of each tensor in random order.

    So it is as large as the trained one, with the same distribution of values in the same tensors, and knows nothing.
    A delta keeps its places, and the values for each weight of the base stay with that weight.

    Args:
        base: Its base.
        graft: The graft.
        name: What plans call the new one.
        seed: Where the order comes from.
    """
    rng = make_generator(CONTROLS, seed=seed, place=0)
    spans = {
        f"{key}.values": [layers.find_span(weight) for weight in layers.names]
        for key, layers in graft.layers.items()
        if isinstance(layers, DeltaLayers | BitFitLayers)
    }
    tensors: dict[str, Tensor] = {}
    for key, tensor in graft.tensors().items():
        if not tensor.is_floating_point():
            tensors[key] = tensor
            continue
        values = tensor.flatten()
        order = np.arange(len(values))
        for span in spans.get(key, [slice(None)]):
            order[span] = rng.permutation(order[span])
        tensors[key] = values[torch.from_numpy(order).to(values.device)].view(tensor.shape)
    return _fill(base, name, graft.parts, tensors)


def drop_last(base: Base, graft: Graft, *, name: str) -> Graft:
    """Make the same graft without its bottleneck in the last layer that has one.

    A task's bottleneck in that layer then reads what the base itself makes (AdapterDrop: Rücklé et al. 2021; MAD-X 2.0
    leaves out the last layer of all adapters).

    Args:
        base: Its base.
        graft: The graft.
        name: What plans call the new one.
    """
    kept: dict[str, Part] = {}
    for key, part in zip(graft.layers, graft.parts, strict=True):
        if not isinstance(part, Bottleneck):
            kept[key] = part
            continue
        layers = part.find_layers(base.sites.num_layers)
        skipped = tuple(layer for layer in range(base.sites.num_layers) if layer not in layers[:-1])
        if len(layers) > 1:
            kept[key] = dataclasses.replace(part, skip_layers=skipped)
    return _take(base, graft, kept, name=name)


def drop_invertible(base: Base, graft: Graft, *, name: str) -> Graft:
    """Make the same graft without its invertible part.

    Args:
        base: Its base.
        graft: The graft.
        name: What plans call the new one.
    """
    kept = {
        key: part
        for (key, layers), part in zip(graft.layers.items(), graft.parts, strict=True)
        if not isinstance(layers, EmbeddingLayers)
    }
    return _take(base, graft, kept, name=name)


def check_last(recipe: Recipe, base: Base) -> None:
    """Refuse the control `drop-last` where language grafts have one bottleneck and nothing else.

    Raises:
        RecipeError: Nothing would be left of them.
    """
    if DROP_LAST not in recipe.controls or not any(
        control == DROP_LAST for control, _ in list_made(recipe).values()
    ):
        return
    if find_border(recipe, base) == 1 and list_language_kinds(recipe) == (BOTTLENECK,):
        raise RecipeError(
            f"The recipe has the control '{DROP_LAST}', and its language grafts have a bottleneck in one layer of "
            f"'{base.name}', so nothing would be left of them. Expected two layers or more below the masked-LM head. "
            "Leave the control out: the condition 'none' is that."
        )


def _take(base: Base, graft: Graft, kept: Mapping[str, Part], *, name: str) -> Graft:
    """Make a graft of some of another's parts, with as much of their tensors as they still have."""
    made = make_graft(base, name, list(kept.values()))
    tensors = graft.tensors()
    # A part of a kind that is there twice may have another key than before.
    keys = dict(zip(made.layers, kept, strict=True))
    found = {
        key: tensors[f"{keys[part]}.{inner}"]
        for key in made.tensors()
        for part, _, inner in [key.partition(".")]
    }
    return _finish(made, found)


def _fill(base: Base, name: str, parts: Sequence[Part], tensors: Mapping[str, Tensor]) -> Graft:
    return _finish(make_graft(base, name, parts), tensors)


def _finish(made: Graft, tensors: Mapping[str, Tensor]) -> Graft:
    copy_tensors(made, tensors)
    made.layers.requires_grad_(False)
    return made
