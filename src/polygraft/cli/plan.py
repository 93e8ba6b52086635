"""`polygraft plan`: what a recipe will take, before anything is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polygraft.cli.console import show_table, write_json
from polygraft.cli.follow import start
from polygraft.cli.options import JsonOption
from polygraft.cli.planned import describe_plan, draw_plan, warn
from polygraft.cli.recipe_options import (
    OnlyOption,
    RecipeArgument,
    SeedOption,
    SettingsOption,
    change_recipe,
)

if TYPE_CHECKING:
    from polygraft.recipe.schema import Recipe


def plan(
    *,
    recipe: RecipeArgument,
    settings: SettingsOption = None,
    only: OnlyOption = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what a recipe will take on this machine: time, memory and disk of each step.

    Each kind of work is tried for a moment. Nothing is written.
    """
    show_plan(change_recipe(recipe, settings, seed=seed), only=only or (), as_json=as_json)


def show_plan(recipe: Recipe, *, only: Sequence[str] = (), as_json: bool = False) -> None:
    """Show what a run would do and take, and do nothing."""
    from polygraft.recipe.events import RunPlanned

    for event in start(recipe, only=only, dry_run=True):
        if not isinstance(event, RunPlanned):
            continue
        if as_json:
            write_json(describe_plan(event))
            return
        show_table(draw_plan(event.plan))
        warn(event.plan)
