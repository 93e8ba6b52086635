"""Tasks whose labels are there in several languages: each source is a task of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polygraft.errors import RecipeError

PLACE = "{source}"
FILES = ("train", "dev")


def spread_sources(tasks: Mapping[str, Any]) -> dict[str, Any]:
    """Write a task with several sources as several tasks, which results call by the one name.

    The first keeps the name; the others are called `NAME-from-SOURCE`. Each `{source}` in the names of the training and
    dev files stands for the source.

    Args:
        tasks: The tables `[task.name]` of a recipe, as the file has them.

    Raises:
        RecipeError: A source is there twice or is no name, or all would learn from one file.

    Example:
        >>> tasks = {
        ...     "ner": {"source": ["en", "swa"], "train": "{source}/train.conll", "dev": "{source}/dev.conll"}
        ... }
        >>> {name: (task["source"], task["train"]) for name, task in spread_sources(tasks).items()}
        {'ner': ('en', 'en/train.conll'), 'ner-from-swa': ('swa', 'swa/train.conll')}
    """
    spread: dict[str, Any] = {}
    for name, table in tasks.items():
        if not isinstance(table, Mapping) or not isinstance(table.get("source"), list):
            _add(spread, name, table)
            continue
        sources: list[object] = table["source"]
        _check(name, table, sources)
        for number, source in enumerate(sources):
            own = {key: _fill(table[key], str(source)) if key in FILES else table[key] for key in table}
            called = name if number == 0 else f"{name}-from-{source}"
            _add(spread, called, {"task": name, **own, "source": source})
    return spread


def _add(spread: dict[str, Any], name: str, table: object) -> None:
    if name in spread:
        raise RecipeError(
            f"The recipe has [task.{name}], and a task with several sources makes one of that name. Rename the table."
        )
    spread[name] = table


def _check(name: str, table: Mapping[str, Any], sources: list[object]) -> None:
    if (
        not sources
        or not all(isinstance(source, str) for source in sources)
        or len(set(sources)) < len(sources)
    ):
        raise RecipeError(
            f"The recipe has task.{name}.source = {sources!r}. Expected a language, or a list of languages, each once. "
            "Correct the value."
        )
    for key in FILES:
        if len(sources) > 1 and PLACE not in str(table.get(key, PLACE)):
            raise RecipeError(
                f"The recipe has task.{name}.{key} = {table[key]!r} for {len(sources)} sources. Expected {PLACE} in "
                f'it, which stands for each of them, such as "ner/{PLACE}/{key}.conll". Write it so.'
            )


def _fill(value: object, source: str) -> object:
    return value.replace(PLACE, source) if isinstance(value, str) else value
