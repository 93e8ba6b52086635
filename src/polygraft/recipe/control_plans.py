"""Under which plans the controls of a recipe are scored, and which grafts are made for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from polygraft.attach.plan import Average, Named, Plan, Stack
from polygraft.errors import RecipeError
from polygraft.parts.kinds import OF_EMBEDDINGS
from polygraft.recipe.controls import (
    AVERAGE,
    CONTROLS,
    DROP_LAST,
    NEAREST,
    NO_INVERTIBLE,
    OTHER,
    RANDOM,
)
from polygraft.recipe.methods import BOTTLENECK, LtSft
from polygraft.recipe.names import check_names, list_grafts
from polygraft.recipe.summable import has_mean, list_language_kinds
from polygraft.recipe.under import lean_on_source, plan_under

if TYPE_CHECKING:
    from polygraft.recipe.schema import Recipe
    from polygraft.recipe.variants import Variant


def check_use(variants: Iterable[Recipe]) -> None:
    """Refuse a control under which no test of a recipe would be scored, or that would make a graft of a taken name.

    Args:
        variants: What the recipe trains, one method and seed at a time.

    Raises:
        RecipeError: One of these.
    """
    recipes = list(variants)
    for recipe in recipes:
        grafts = list_grafts(
            recipe.languages, recipe.tasks, variant=recipe.variant, is_packed=recipe.train.task.packs
        )
        check_names({**grafts, "controls": list(list_made(recipe))})
    used = {
        control
        for recipe in recipes
        if recipe.variant.is_over and not recipe.train.task.packs
        for name, task in recipe.tasks.items()
        for language in task.test
        # Which one is nearest does not matter here.
        for control in list_controls(recipe, name, language, nearest=_find_any(recipe, language))
    }
    for control in (name for recipe in recipes[:1] for name in recipe.controls if name not in used):
        raise RecipeError(
            f"The recipe has the control '{control}', under which nothing would be scored. Expected a method with "
            f"language grafts under its tasks, and {CONTROLS[control].needs}. Leave the control out, or add that."
        )


def _find_any(recipe: Recipe, language: str) -> str | None:
    return next((name for name in recipe.languages if name != language), None)


def list_controls(recipe: Recipe, task: str, language: str, *, nearest: str | None) -> dict[str, Plan]:
    """List the plans of the controls under which a task over language grafts is scored in a language.

    A control that means nothing there is left out: a language without text has no graft to make another of, and a
    mean needs two.

    Args:
        recipe: A variant whose tasks stand over language grafts.
        task: The task's name.
        language: The test's.
        nearest: The other language whose text has the pieces of the test most alike, where it is known.
    """
    variant, data = recipe.variant, recipe.tasks[task]
    others = [name for name in recipe.languages if name != language]
    below: dict[str, Plan] = {}
    if language in recipe.languages:
        for name in _list_made_kinds(recipe):
            below[name] = lean_on_source(recipe, data, Named(name_made(variant, language, name)))
        third = [name for name in others if name != data.source]
        if third:
            below[OTHER] = plan_under(recipe, data, third[0])
    if nearest is not None:
        below[NEAREST] = plan_under(recipe, data, nearest)
    if len(others) > 1 and has_mean(recipe):
        below[AVERAGE] = Average(tuple(Named(variant.name_language(name)) for name in others))
    over = Named(variant.name_task(task))
    wanted = [name for name in CONTROLS if name in recipe.controls and name in below]
    return {name: Stack((below[name], over)) for name in wanted}


def name_made(variant: Variant, language: str, control: str) -> str:
    """Give the name of a graft that a control makes of a language's own.

    Args:
        variant: Which method and seed.
        language: The language.
        control: The control.
    """
    return f"{variant.name_language(language)}-{control}"


def list_made(recipe: Recipe) -> dict[str, tuple[str, str]]:
    """List the grafts that the controls of a recipe make: by name the control, and the language whose graft it changes.

    Args:
        recipe: A variant.
    """
    kinds = [name for name in _list_made_kinds(recipe) if name in recipe.controls]
    return {
        name_made(recipe.variant, language, control): (control, language)
        for language in recipe.languages
        for control in kinds
    }


def _list_made_kinds(recipe: Recipe) -> list[str]:
    """List the controls that can be made of a recipe's language grafts."""
    kinds = list_language_kinds(recipe)
    # A graft with parts left out has no mean with the source's, which is whole.
    is_mean = bool(recipe.train.task.source_weight)
    fits = {
        RANDOM: bool(kinds) or recipe.train.language.method == LtSft.kind,
        DROP_LAST: BOTTLENECK in kinds and not is_mean,
        NO_INVERTIBLE: 0 < sum(kind in OF_EMBEDDINGS for kind in kinds) < len(kinds) and not is_mean,
    }
    return [name for name, control in CONTROLS.items() if control.is_made and fits[name]]
