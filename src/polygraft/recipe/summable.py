"""What a recipe's language grafts are made of, and whether a mean of several is one of the same kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polygraft.recipe.controls import SUMMABLE
from polygraft.recipe.learned import list_kinds, spread_options
from polygraft.recipe.methods import BOTTLENECK, LtSft

if TYPE_CHECKING:
    from polygraft.recipe.schema import Recipe


def list_language_kinds(recipe: Recipe) -> tuple[str, ...]:
    """List the kinds of parts of a recipe's language grafts; none where these change weights by a method.

    Args:
        recipe: A variant.
    """
    settings = recipe.train.language
    if settings.method != BOTTLENECK:
        return ()
    return (*list_kinds(settings.part, from_text=True), *(["invertible"] if settings.invertible else []))


def has_mean(recipe: Recipe) -> bool:
    """Say whether language grafts can be averaged: masks that keep different weights cannot, nor all parts.

    Args:
        recipe: A variant.
    """
    settings, kinds = recipe.train.language, list_language_kinds(recipe)
    if not kinds:
        return settings.method == LtSft.kind
    # Of these, what a LoRA with norms of its own adds depends on all of them.
    has_norms = "lora" in kinds and spread_options(kinds, settings.options).get("lora", {}).get("dora")
    return set(kinds) <= set(SUMMABLE) and not has_norms
