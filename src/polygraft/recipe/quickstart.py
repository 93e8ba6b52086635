"""The quickstart: the whole job at small size, on the sample data of the package."""

from __future__ import annotations

import dataclasses
from importlib.resources import files
from pathlib import Path

from polygraft.recipe.read import load_recipe
from polygraft.recipe.schema import Recipe


def load_quickstart(folder: Path) -> Recipe:
    """Read the recipe that comes with the package.

    Args:
        folder: Where the store and the run go.
    """
    path = Path(str(files("polygraft") / "sample" / "quickstart.toml"))
    return dataclasses.replace(load_recipe(path), store=folder / "store", runs=folder / "runs")
