"""`polygraft run`: a whole experiment from a recipe."""

from __future__ import annotations

from typing import Annotated

import typer

from polygraft.cli.follow import follow_run
from polygraft.cli.options import JsonOption, LogOption
from polygraft.cli.outcome import show_results
from polygraft.cli.plan import show_plan
from polygraft.cli.recipe_options import (
    OnlyOption,
    RecipeArgument,
    SeedOption,
    SettingsOption,
    change_recipe,
)
from polygraft.cli.tracking import TrackerOption


def run(
    *,
    recipe: RecipeArgument,
    settings: SettingsOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and do nothing.")] = False,
    only: OnlyOption = None,
    seed: SeedOption = None,
    log: LogOption = None,
    tracker: TrackerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a recipe: train its grafts, score them, write results and a report.

    Steps that were done before are skipped, and a run that was stopped goes on where it was.
    """
    loaded = change_recipe(recipe, settings, seed=seed)
    if dry_run:
        show_plan(loaded, only=only or (), as_json=as_json)
        return
    finished = follow_run(loaded, only=only or (), log=log, trackers=tracker or ())
    if finished is not None:
        show_results(finished, as_json=as_json)
