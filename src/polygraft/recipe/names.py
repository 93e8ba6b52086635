"""What the grafts of a recipe are called, and its tasks in results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from polygraft.errors import RecipeError
from polygraft.recipe.variants import Variant
from polygraft.store.fields import shown
from polygraft.store.manifest import check_name, is_name

if TYPE_CHECKING:
    from polygraft.recipe.data import TaskData

DEFAULT = Variant()


def list_grafts(
    languages: Iterable[str], tasks: Iterable[str], *, variant: Variant = DEFAULT, is_packed: bool
) -> dict[str, list[str]]:
    """List the names of the grafts that each table of a recipe makes.

    Args:
        languages: Names of its languages.
        tasks: Names of its tasks.
        variant: Which method and seed it is about.
        is_packed: Whether the tasks share one set of weights, over no language.

    Example:
        >>> list_grafts(["qu"], ["ner"], is_packed=False)
        {'[language.qu]': ['qu'], '[task.ner]': ['ner-alone', 'ner']}
        >>> list_grafts(["qu"], ["ner"], is_packed=True)
        {'[task.ner]': ['ner']}
    """
    if is_packed:
        return {f"[task.{name}]": [variant.name_task(name)] for name in tasks}
    made = {f"[language.{name}]": [variant.name_language(name)] for name in languages}
    return made | {f"[task.{name}]": list_task_grafts(name, variant) for name in tasks}


def list_task_grafts(task: str, variant: Variant) -> list[str]:
    """List the names of the grafts of a task, the one without language grafts first."""
    alone = [variant.name_alone(task)] if variant.is_alone else []
    return [*alone, variant.name_task(task)] if variant.is_over else alone


def check_run_name(name: str) -> None:
    """Refuse a name that no run's folder may have.

    Args:
        name: The key `name` of the recipe, or the name of its file without the ending.

    Raises:
        RecipeError: It has what a name may not have.
    """
    if not is_name(name):
        raise RecipeError(
            f"{shown(name)} cannot be a run's name, which is the recipe's key `name`, or the name of its file where it "
            "has none. Expected 1 to 64 of the characters A-Z a-z 0-9 _ . -, with a letter or digit first and no two "
            'dots in a row. Write name = "..." at the top of the recipe, or rename the file.'
        )


def check_names(grafts: Mapping[str, Sequence[str]]) -> None:
    """Refuse tables that would make grafts of the same name, or of one that no graft may have.

    Args:
        grafts: Names by table, of `list_grafts`.

    Raises:
        RecipeError: Two steps would make grafts of the same name.
        StoreError: A name has what a name may not have.
    """
    for name in (name for names in grafts.values() for name in names):
        check_name(name)
    # Some file systems take names that differ in capital letters only for one.
    taken = {"mlm"}
    for table, names in grafts.items():
        for name in names:
            if name.casefold() in taken:
                raise RecipeError(
                    f"{table} would make a graft called '{name}', and so would another step. Rename the table."
                )
            taken.add(name.casefold())


def show_task(tasks: Mapping[str, TaskData], name: str) -> str:
    """Give what results call a task."""
    return tasks[name].task or name


def check_tasks(tasks: Mapping[str, TaskData]) -> None:
    """Refuse two tasks that results call alike and that learn from one language: their scores could not be told apart.

    Args:
        tasks: The tables `[task.name]` of a recipe.

    Raises:
        RecipeError: There are two such.
    """
    known: dict[tuple[str, str], str] = {}
    for name, task in tasks.items():
        called = show_task(tasks, name)
        other = known.setdefault((called, task.source), name)
        if other != name:
            raise RecipeError(
                f"[task.{other}] and [task.{name}] are both called '{called}' in results and learn from "
                f"'{task.source}', so that their scores could not be told apart. Expected another name or another "
                f"source for each. Give one of them another `task`."
            )
