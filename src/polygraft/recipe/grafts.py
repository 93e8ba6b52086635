"""What the grafts of a recipe are made of, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.invertible import Invertible

if TYPE_CHECKING:
    from polygraft.base.base import Base
    from polygraft.parts.part import Part
    from polygraft.recipe.schema import Recipe, TaskData


def find_head_layer(recipe: Recipe, base: Base) -> int:
    """Give the number of layers that the masked-LM head reads."""
    num_layers = base.sites.num_layers
    wanted = recipe.train.shared.layer
    return num_layers if base.head is not None or wanted == -1 else min(wanted, num_layers)


def list_shared_parts(recipe: Recipe, base: Base) -> list[Part]:
    """List what all languages share: a bottleneck, unless it is left out, and the head of a base that has none."""
    settings = recipe.train.shared
    parts: list[Part] = []
    if settings.reduction:
        parts.append(Bottleneck(reduction=settings.reduction, skip_layers=_list_layers_above(recipe, base)))
    if base.head is None:
        parts.append(Head(objective="mlm", layer=find_head_layer(recipe, base)))
    return parts


def starts_shared(recipe: Recipe) -> bool:
    """Whether language grafts begin with the values of the shared bottleneck."""
    return recipe.train.language.start == "shared" and recipe.train.shared.reduction > 0


def list_language_parts(recipe: Recipe, base: Base) -> list[Part]:
    """List the parts of a language graft, in the layers that the masked-LM head sees."""
    settings = recipe.train.language
    reduction = recipe.train.shared.reduction if starts_shared(recipe) else settings.reduction
    parts: list[Part] = [Bottleneck(reduction=reduction, skip_layers=_list_layers_above(recipe, base))]
    if settings.invertible:
        parts.append(Invertible())
    return parts


def list_task_parts(recipe: Recipe, task: TaskData, labels: Sequence[str]) -> list[Part]:
    """List the parts of a task graft."""
    settings = recipe.train.task
    return [
        Bottleneck(
            reduction=settings.reduction,
            skip_layers=settings.skip_layers,
            semantics=settings.semantics,
            placement=settings.placement,
            activation=settings.activation,
        ),
        Head.from_options({"objective": task.objective, "labels": list(labels)}),
    ]


def _list_layers_above(recipe: Recipe, base: Base) -> tuple[int, ...]:
    """List the layers that the masked-LM head does not see: nothing can be learned there."""
    return tuple(range(find_head_layer(recipe, base), base.sites.num_layers))
