"""`polygraft run`: a whole experiment from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polygraft.cli.follow import follow_run, show_plan
from polygraft.cli.options import JsonOption, LogOption
from polygraft.cli.outcome import show_results
from polygraft.cli.tracking import TrackerOption


def run(
    *,
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a TOML file.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe, as train.language.steps=200."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and do nothing.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="STEP", help="Run this step only; may be given several times."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, metavar="N", help="Where random choices come from.")
    ] = None,
    log: LogOption = None,
    tracker: TrackerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a recipe: train its grafts, score them, write results and a report.

    Steps that were done before are skipped, and a run that was stopped goes on where it was.
    """
    from polygraft.recipe.read import load_recipe

    changes = [*(settings or ()), *([] if seed is None else [f"seed={seed}"])]
    loaded = load_recipe(recipe, settings=changes)
    if dry_run:
        show_plan(loaded, only=only or (), as_json=as_json)
        return
    finished = follow_run(loaded, only=only or (), log=log, trackers=tracker or ())
    if finished is not None:
        show_results(finished, as_json=as_json)
