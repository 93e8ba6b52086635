"""What stands under a task where it is scored: a language's own graft, or the mean of it and the source's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from polygraft.attach.plan import Average, Named, Plan
from polygraft.errors import RecipeError
from polygraft.recipe.controls import MEANT
from polygraft.recipe.summable import has_mean

if TYPE_CHECKING:
    from polygraft.recipe.data import TaskData
    from polygraft.recipe.schema import Recipe

HALF = 0.5
"""The weight that a plan need not write."""


def plan_under(recipe: Recipe, task: TaskData, language: str) -> Plan:
    """Give what stands under a task where it is scored in a language.

    Args:
        recipe: A variant whose tasks stand over language grafts.
        task: The task.
        language: The language; with the task's source, its graft as it is.
    """
    return lean_on_source(recipe, task, Named(recipe.variant.name_language(language)))


def lean_on_source(recipe: Recipe, task: TaskData, own: Named) -> Plan:
    """Give the mean of a graft and of the task's source's, as the recipe weighs them; the graft itself without weight.

    Two language grafts that were trained apart agree where they do what every language asks for, and cancel where they
    have drifted apart: the mean is nearer to what the task graft has learned to read.

    Args:
        recipe: A variant whose tasks stand over language grafts.
        task: The task.
        own: The graft, of the same parts as the source's.
    """
    weight, source = recipe.train.task.source_weight, Named(recipe.variant.name_language(task.source))
    if not weight or own == source:
        return own
    return Average((own, source), weights=None if weight == HALF else (1 - weight, weight))


def check_source_weights(variants: Iterable[Recipe]) -> None:
    """Refuse a mean of language grafts that have none.

    Args:
        variants: What a recipe trains, one method and seed at a time.

    Raises:
        RecipeError: There is one.
    """
    for recipe in variants:
        weight = recipe.train.task.source_weight
        if not weight or not recipe.variant.is_over or has_mean(recipe):
            continue
        raise RecipeError(
            f"The recipe has train.task.source_weight = {weight:g}, and its language grafts cannot be averaged. "
            f"Expected 0, or {MEANT}. Correct one of them."
        )
