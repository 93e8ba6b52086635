"""The option --tracker, and what stands behind it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polygraft.settings import load_launch

if TYPE_CHECKING:
    from polygraft.recipe.order import Order
    from polygraft.recipe.schema import Recipe
    from polygraft.train.trackers import Trackers

RUNS = Path("runs")
"""Where trackers write about grafts that are trained without a recipe."""
TrackerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tracker",
        metavar="NAME",
        help="Log every update to tensorboard, mlflow, wandb or trackio; may be given several times.",
    ),
]
Plain = bool | int | float | str


def check_before(names: Sequence[str]) -> None:
    """Refuse trackers that are not known or not installed, before anything slow is done.

    Raises:
        OptionError: There is no such tracker.
        MissingExtraError: Its package is not installed.
    """
    from polygraft.train.trackers import check_trackers

    check_trackers(names)


def track_recipe(
    recipe: Recipe, names: Sequence[str], *, notify: Callable[[str], None]
) -> AbstractContextManager[Trackers]:
    """Open trackers for the trainings of a recipe, and tell what they cannot be told."""
    settings = {"base": recipe.base, "dtype": recipe.dtype, "seed": recipe.seed}
    settings |= _flatten(dataclasses.asdict(recipe.train), "train")
    return _open(names, folder=recipe.runs, project=recipe.name, settings=settings, notify=notify)


def track_order(
    order: Order, names: Sequence[str], *, notify: Callable[[str], None]
) -> AbstractContextManager[Trackers]:
    """Open trackers for one training without a recipe, and tell what they cannot be told."""
    settings = _flatten(dataclasses.asdict(order.settings), "train")
    return _open(names, folder=RUNS, project="train", settings=settings, notify=notify)


@contextmanager
def _open(
    names: Sequence[str],
    *,
    folder: Path,
    project: str,
    settings: Mapping[str, Plain],
    notify: Callable[[str], None],
) -> Generator[Trackers]:
    from polygraft.train.trackers import open_trackers

    # Of several processes, the first one tells for all.
    chosen = names if load_launch().is_first else ()
    with ExitStack() as stack:
        if chosen:
            # Some trackers print where they keep what they are told; standard output is for results.
            stack.enter_context(redirect_stdout(sys.stderr))
        yield stack.enter_context(
            open_trackers(chosen, folder=folder, project=project, settings=settings, notify=notify)
        )


def _flatten(table: Mapping[str, object], prefix: str) -> dict[str, Plain]:
    flat: dict[str, Plain] = {}
    for key, value in table.items():
        name = f"{prefix}.{key}"
        if isinstance(value, Mapping):
            flat |= _flatten(value, name)
        elif isinstance(value, bool | int | float | str):
            flat[name] = value
        elif value is not None:
            flat[name] = str(value)
    return flat
