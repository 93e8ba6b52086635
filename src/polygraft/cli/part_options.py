"""The options --part and --option: what a graft learns with."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from polygraft.errors import OptionError
from polygraft.recipe.learned import LearnedPart

PartOption = Annotated[
    LearnedPart,
    typer.Option(
        "--part", help="What the graft learns with; LoRA, (IA)3 and BitFit in a bottleneck's place."
    ),
]
PartOptionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option", metavar="KEY=VALUE", help="Of the part, as rank=16 for lora; may be given several times."
    ),
]


def read_part_options(
    words: Sequence[str] | None, *, part: str, reduction: float, usual: float
) -> dict[str, Any]:
    """Read what was given with --option; values are written as in TOML, and words may stand without quotes.

    Args:
        words: What was given.
        part: The kind of part.
        reduction: What was given with --reduction.
        usual: What that is if it is not given.

    Raises:
        OptionError: A word sets nothing, or the reduction was given for a part that has none.

    Example:
        >>> read_part_options(["rank=16", 'roles=["key"]'], part="lora", reduction=2, usual=2)
        {'rank': 16, 'roles': ['key']}
    """
    if part != "bottleneck" and reduction != usual:
        raise OptionError(
            f"--reduction {reduction:g} was given with --part {part}, which has no reduction. Expected it with a "
            f"bottleneck only. Leave it out, and set the options of '{part}' with --option."
        )
    found: dict[str, Any] = {}
    for word in words or ():
        key, equals, text = word.partition("=")
        if not equals or not key.strip() or key.strip() in found:
            raise OptionError(
                f"--option '{word}' sets nothing, or what is set already. Expected a key and a value, such as rank=16, "
                "each key once. Correct it."
            )
        try:
            found[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            found[key.strip()] = text
    return found
