"""What a recipe that compares trains: one variant of the recipe for each method and seed."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from polygraft.errors import PolygraftError, RecipeError, nearest
from polygraft.recipe.kinds import find_kind
from polygraft.recipe.methods import BOTTLENECK
from polygraft.recipe.schema import Recipe
from polygraft.recipe.tables import read_value
from polygraft.recipe.train_tables import OF_BOTTLENECKS, LanguageSettings, TaskSettings
from polygraft.recipe.variants import MethodTable, Variant

Settings = TypeVar("Settings", TaskSettings, LanguageSettings)

OF_PARTS = ("part", "options", *OF_BOTTLENECKS)
"""Keys that say which part learns; they mean nothing for methods that change weights."""
OF_METHODS = ("method", "pruning")
"""Keys that say how weights are changed."""


def check_comparison(
    *, methods: Sequence[str], seeds: Sequence[int], tables: Mapping[str, MethodTable]
) -> None:
    """Refuse methods that are not known, tables of methods that are not compared, and what is there twice.

    Args:
        methods: As the recipe has them.
        seeds: As the recipe has them.
        tables: The recipe's `[method.name]`.

    Raises:
        RecipeError: One of these.
    """
    _check_once("methods", methods)
    _check_once("seeds", seeds)
    for name in methods:
        find_kind(name, tables)
    for name in tables:
        if name not in methods:
            listed = ", ".join(methods) or "none"
            raise RecipeError(
                f"The recipe has [method.{name}], and '{name}' is not among its methods ({listed})."
                f"{nearest(name, methods)} Add it to `methods`, or leave the table out."
            )


def _check_once(key: str, values: Sequence[str] | Sequence[int]) -> None:
    twice = next((value for place, value in enumerate(values) if value in values[:place]), None)
    if twice is not None:
        raise RecipeError(f"The recipe's {key} have {twice!r} twice. Expected each once. Leave one out.")


def list_variants(recipe: Recipe) -> list[Recipe]:
    """Give what a recipe trains, one method and seed at a time; the recipe itself where it compares nothing.

    Every method is tried with the first seed before any is with the second.

    Args:
        recipe: As it was read.

    Raises:
        PolygraftError: What is set for a method cannot be meant.
    """
    if not recipe.methods and not recipe.seeds:
        return [recipe]
    seeds = recipe.seeds or (recipe.seed,)
    methods = recipe.methods or ("",)
    return [_make(recipe, method, seed, is_first=seed == seeds[0]) for seed in seeds for method in methods]


def _make(recipe: Recipe, method: str, seed: int, *, is_first: bool) -> Recipe:
    """Make the variant of one method and seed."""
    labels = [method] if method else []
    labels += [f"seed-{seed}"] if len(recipe.seeds) > 1 else []
    again = "" if is_first else f"-seed-{seed}"
    text_again = "" if recipe.share_languages else again
    seeds = recipe.seeds or (recipe.seed,)
    variant = Variant(
        method=method,
        label=".".join(labels),
        text_seed=seeds[0] if recipe.share_languages else None,
        shared=text_again,
        language=text_again,
        task=f"-{method}{again}" if method else again,
    )
    if not method:
        return dataclasses.replace(recipe, seed=seed, variant=variant)
    kind, table = find_kind(method, recipe.method), recipe.method.get(method, MethodTable())
    try:
        task = _change(recipe.train.task, kind.task, table.task, where=f"method.{method}.task")
        language = _change(
            recipe.train.language, kind.language, table.language, where=f"method.{method}.language"
        )
        own = "" if language == recipe.train.language or not kind.is_over else f"-{method}"
        return dataclasses.replace(
            recipe,
            seed=seed,
            languages=recipe.languages if kind.is_over else {},
            train=dataclasses.replace(recipe.train, task=task, language=language),
            variant=dataclasses.replace(
                variant,
                is_alone=not kind.is_over,
                is_over=kind.is_over,
                is_copy=kind.is_copy,
                language=f"{own}{text_again}",
            ),
        )
    except PolygraftError as error:
        error.add_note(f"(method '{method}')")
        raise


def _change(settings: Settings, kind: Mapping[str, Any], own: Mapping[str, Any], *, where: str) -> Settings:
    """Give the settings of a table with what a method sets, and then with what the recipe sets for that method."""
    hints = typing.get_type_hints(type(settings))
    fields = {field.name: field for field in dataclasses.fields(settings)}
    for key in own:
        if key not in fields:
            raise RecipeError(
                f"The recipe has {where}.{key}, which means nothing. Keys of [{where}] are {', '.join(fields)}."
                f"{nearest(key, fields)} Correct the name."
            )
    changes = {**kind, **{key: read_value(hints[key], own[key], where=f"{where}.{key}") for key in own}}
    asked = {key: changes.get(key, BOTTLENECK) for key in ("method", "part")}
    if all(vars(settings)[key] == value for key, value in asked.items()):
        return dataclasses.replace(settings, **changes)
    # What [train] says of another part or method is not meant for this one.
    reset = {key: _default(fields[key]) for key in (*OF_PARTS, *OF_METHODS) if key in fields}
    if set(asked.values()) == {BOTTLENECK}:
        reset = {key: value for key, value in reset.items() if key not in OF_BOTTLENECKS}
    return dataclasses.replace(settings, **{**reset, **changes})


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default is not dataclasses.MISSING else field.default_factory()  # pyright: ignore[reportCallIssue]
