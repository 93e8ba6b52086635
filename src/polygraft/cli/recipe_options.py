"""Options that say which recipe is meant, with what is changed in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from polygraft.recipe.schema import Recipe

RecipeArgument = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a TOML file.")]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe, as train.language.steps=200."),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="STEP", help="Run this step only; may be given several times."),
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed",
        min=0,
        metavar="N",
        help="Where random choices come from; in place of all seeds of the recipe.",
    ),
]


def change_recipe(path: Path, settings: Sequence[str] | None, *, seed: int | None) -> Recipe:
    """Read a recipe with what the command line changes in it.

    Args:
        path: The file.
        settings: Changes as `key=value`.
        seed: Another seed.
    """
    from polygraft.recipe.read import load_recipe

    changes = [*(settings or ()), *([] if seed is None else [f"seed={seed}"])]
    return load_recipe(path, settings=changes)
