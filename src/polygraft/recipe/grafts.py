"""What the grafts of a recipe are made of, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.invertible import Invertible
from polygraft.recipe.learned import make_learned_parts
from polygraft.recipe.methods import BOTTLENECK

if TYPE_CHECKING:
    from polygraft.base.base import Base
    from polygraft.parts.part import Part
    from polygraft.recipe.data import TaskData
    from polygraft.recipe.schema import Recipe


SHARE_BELOW = 2 / 3
"""How much of the base language grafts stand in, where the recipe does not say."""


def find_head_layer(recipe: Recipe, base: Base) -> int:
    """Give the number of layers that the masked-LM head reads."""
    num_layers = base.sites.num_layers
    wanted = recipe.train.mlm.layer
    return num_layers if base.head is not None or wanted == -1 else wanted


def find_border(recipe: Recipe, base: Base) -> int:
    """Give the number of layers that language grafts stand in: those below the graft `mlm`, or all below the head."""
    top, settings = find_head_layer(recipe, base), recipe.train.mlm
    if base.head is not None or not settings.reduction:
        return top
    return max(1, round(SHARE_BELOW * top)) if settings.from_layer is None else settings.from_layer


def list_mlm_parts(recipe: Recipe, base: Base) -> list[Part]:
    """List the parts of the graft `mlm`: a bottleneck in the upper layers, unless it is left out, and the head."""
    settings, top = recipe.train.mlm, find_head_layer(recipe, base)
    head = Head(objective=base.guesses, layer=settings.layer)
    if not settings.reduction:
        return [head]
    own = range(find_border(recipe, base), top)
    skipped = tuple(layer for layer in range(base.sites.num_layers) if layer not in own)
    return [Bottleneck(reduction=settings.reduction, skip_layers=skipped), head]


def list_layers_above(recipe: Recipe, base: Base) -> tuple[int, ...]:
    """List the layers without language grafts: those that the masked-LM head does not read, or that `mlm` stands in."""
    return tuple(range(find_border(recipe, base), base.sites.num_layers))


def list_language_parts(recipe: Recipe, base: Base) -> list[Part]:
    """List the parts of a language graft."""
    settings = recipe.train.language
    parts = make_learned_parts(
        settings.part,
        settings.options,
        skip_layers=list_layers_above(recipe, base),
        from_text=True,
        usual={BOTTLENECK: {"reduction": settings.reduction}},
    )
    if settings.invertible:
        parts.append(Invertible())
    return parts


def list_task_parts(recipe: Recipe, task: TaskData, labels: Sequence[str]) -> list[Part]:
    """List the parts of a task graft."""
    settings = recipe.train.task
    parts = make_learned_parts(
        settings.part,
        settings.options,
        skip_layers=settings.skip_layers,
        from_text=False,
        usual={
            BOTTLENECK: {
                "reduction": settings.reduction,
                "semantics": settings.semantics,
                "placement": settings.placement,
                "activation": settings.activation,
            }
        },
        asked=f"skip_layers = {list(settings.skip_layers)}" if settings.skip_layers else "",
    )
    return [*parts, make_task_head(task, labels)]


def make_task_head(task: TaskData, labels: Sequence[str]) -> Head:
    """Make the head of a task graft."""
    return Head.from_options({"objective": task.objective, "labels": list(labels)})
