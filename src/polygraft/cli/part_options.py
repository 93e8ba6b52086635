"""The options --part and --option: what a graft learns with."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from polygraft.errors import OptionError
from polygraft.parts.kinds import LEARNED, OF_EMBEDDINGS, PRESETS
from polygraft.recipe.learned import PartNames, list_kinds, list_names
from polygraft.recipe.methods import BOTTLENECK

PartOption = Annotated[
    list[str] | None,
    typer.Option(
        "--part",
        metavar="KIND",
        show_default=BOTTLENECK,
        help=f"What the graft learns with: {', '.join((*LEARNED, *PRESETS))}; for text also "
        f"{' and '.join(OF_EMBEDDINGS)}. May be given several times.",
    ),
]
PartOptionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="KEY=VALUE",
        help="Of the part, as rank=16 for lora, or lora.rank=16 where there are several; may be given several times.",
    ),
]


def read_part(names: Sequence[str] | None, *, from_text: bool) -> PartNames:
    """Read what was given with --part.

    Args:
        names: What was given.
        from_text: Whether the graft learns from plain text.

    Raises:
        OptionError: A name is unknown, is there twice, or is that of a part that is made otherwise.

    Example:
        >>> read_part(None, from_text=True), read_part(["prefix", "lora"], from_text=True)
        ('bottleneck', ('prefix', 'lora'))
    """
    part = tuple(names or (BOTTLENECK,))
    list_kinds(part, from_text=from_text)
    return part[0] if len(part) == 1 else part


def read_part_options(
    words: Sequence[str] | None, *, part: PartNames, reduction: float, usual: float
) -> dict[str, Any]:
    """Read what was given with --option; values are written as in TOML, and words may stand without quotes.

    Args:
        words: What was given.
        part: What the graft learns with.
        reduction: What was given with --reduction.
        usual: What that is if it is not given.

    Raises:
        OptionError: A word sets nothing, or the reduction was given for other parts than a bottleneck.

    Example:
        >>> read_part_options(["rank=16", 'roles=["key"]'], part="lora", reduction=2, usual=2)
        {'rank': 16, 'roles': ['key']}
        >>> read_part_options(["prefix.length=20"], part=("prefix", "lora"), reduction=2, usual=2)
        {'prefix': {'length': 20}}
    """
    names = list_names(part)
    if BOTTLENECK not in names and reduction != usual:
        raise OptionError(
            f"--reduction {reduction:g} was given with --part {' --part '.join(names)}, and it is that of --part "
            "bottleneck. Expected it with a bottleneck only. Leave it out, and set options of parts with --option."
        )
    found: dict[str, Any] = {}
    for word in words or ():
        key, equals, text = word.partition("=")
        *tables, last = key.strip().split(".")
        table = found
        for name in tables:
            table = table.setdefault(name, {}) if isinstance(table, dict) else table
        if not equals or not last or not isinstance(table, dict) or last in table:
            raise OptionError(
                f"--option '{word}' sets nothing, or what is set already. Expected a key and a value, such as rank=16, "
                "each key once. Correct it."
            )
        try:
            table[last] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            table[last] = text
    return found
