"""Which parts a graft learns with: a bottleneck, another one in its place, or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from polygraft.errors import OptionError, nearest
from polygraft.parts.kinds import LEARNED, MADE_OTHERWISE, OF_EMBEDDINGS, PRESETS

if TYPE_CHECKING:
    from polygraft.parts.part import Part

HEAD_ALONE = "head"
"""What a graft learns with that has a head and no part: a linear probe."""
PartNames = str | tuple[str, ...]
"""A kind of part, the name of a preset, or several of these."""


def list_names(part: PartNames) -> tuple[str, ...]:
    """List the names that were given: one, or several.

    Example:
        >>> list_names("lora")
        ('lora',)
    """
    return (part,) if isinstance(part, str) else part


def write_names(part: PartNames) -> str:
    """Write the names as a recipe has them.

    Example:
        >>> write_names("lora"), write_names(("prefix", "lora"))
        ("'lora'", "['prefix', 'lora']")
    """
    return repr(part if isinstance(part, str) else list(part))


def list_kinds(part: PartNames, *, from_text: bool) -> tuple[str, ...]:
    """List the kinds of parts that a graft learns with; the name of a preset stands for those of its own.

    Args:
        part: What was asked for.
        from_text: Whether the graft learns from plain text, so that it may change the embeddings for a language.

    Raises:
        OptionError: Nothing was asked for, a name is unknown, no graft is told to learn with it, or it is there twice.

    Example:
        >>> list_kinds(("lora", "mam"), from_text=False)
        ('lora', 'prefix', 'bottleneck')
    """
    names = list_names(part)
    if names == (HEAD_ALONE,) and not from_text:
        return ()
    known = (*LEARNED, *(OF_EMBEDDINGS if from_text else ()), *PRESETS)
    if not names:
        raise OptionError(
            f"A graft was to learn with no part. Expected one or more of {', '.join(known)}. Name one."
        )
    for name in names:
        _check_name(name, known)
    kinds = tuple(kind for name in names for kind in PRESETS.get(name, (name,)))
    twice = [kind for place, kind in enumerate(kinds) if kind in kinds[:place]]
    if twice:
        raise OptionError(
            f"A graft was to learn with the part '{twice[0]}' twice. Expected each once, those of "
            f"{', '.join(PRESETS)} among them. Leave one out."
        )
    return kinds


def _check_name(name: str, known: Sequence[str]) -> None:
    if name in known:
        return
    expected = f"Expected one of {', '.join(known)}."
    if name in OF_EMBEDDINGS:
        raise OptionError(
            f"A graft was to learn labels with the part '{name}', which changes the embeddings for a language. "
            f"{expected} Choose one, or give '{name}' to the language: `polygraft train mlm --part {name}`, or part of "
            "[train.language]."
        )
    if name in MADE_OTHERWISE:
        raise OptionError(
            f"A graft was to learn with the part '{name}', {MADE_OTHERWISE[name]}. {expected} Choose one, or make "
            f"'{name}' that way."
        )
    raise OptionError(
        f"A graft was to learn with the part '{name}'. {expected}{nearest(name, known)} Choose one."
    )


def spread_options(kinds: Sequence[str], options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Give the options of each kind: plain ones are those of the only part, others stand below the part's name.

    Args:
        kinds: What the graft learns with.
        options: What was given.

    Raises:
        OptionError: There are several parts, and an option does not say of which it is.

    Example:
        >>> spread_options(["lora"], {"rank": 4})
        {'lora': {'rank': 4}}
        >>> spread_options(["prefix", "lora"], {"lora": {"rank": 4}})
        {'lora': {'rank': 4}}
    """
    if len(kinds) == 1 and not any(key in kinds for key in options):
        return {kinds[0]: dict(options)} if options else {}
    for key, value in options.items():
        if key not in kinds or not isinstance(value, Mapping):
            raise OptionError(
                f"The options hold {key} = {value!r}, and the graft learns with {' and '.join(kinds)}. Expected each "
                f"option below the name of its part: {kinds[0]}.KEY=VALUE on the command line, a table "
                f"options.{kinds[0]} in a recipe.{nearest(key, kinds)} Write it there."
            )
    return {key: dict(value) for key, value in options.items()}


def make_learned_parts(
    part: PartNames,
    options: Mapping[str, Any],
    *,
    skip_layers: Sequence[int],
    from_text: bool,
    usual: Mapping[str, Mapping[str, Any]],
    asked: str = "",
) -> list[Part]:
    """Make the parts that a graft learns with.

    Args:
        part: Their names.
        options: Their own options, as their pages list them, without the layers that are left out.
        skip_layers: These, for the parts that stand in layers.
        from_text: Whether the graft learns from plain text.
        usual: Options by kind that hold unless a preset or `options` say otherwise.
        asked: How a user asked for layers to be left out; empty if none did.

    Raises:
        OptionError: A name or an option is unknown, a value cannot be meant, or layers were to be left out and no part
            stands in layers.

    Example:
        >>> [lora] = make_learned_parts("lora", {"rank": 4}, skip_layers=[0], from_text=False, usual={})
        >>> lora.to_options()["rank"], lora.to_options()["skip_layers"]
        (4, [0])
    """
    # Loaded here, since recipes are read without torch.
    from polygraft.parts.table import make_part, stands_in_layers

    kinds = list_kinds(part, from_text=from_text)
    given = spread_options(kinds, options)
    if asked and not any(stands_in_layers(kind) for kind in kinds):
        raise OptionError(
            f"{asked} was to leave out layers, and the graft learns with {' and '.join(kinds)}, which "
            f"{'stands' if len(kinds) == 1 else 'stand'} in no layer. Expected it with parts that do, such as a "
            "bottleneck or a prefix. Leave it out."
        )
    preset = {kind: values for name in list_names(part) for kind, values in PRESETS.get(name, {}).items()}
    parts: list[Part] = []
    for kind in kinds:
        own = given.get(kind, {})
        values = {**(preset[kind] if kind in preset else usual.get(kind, {})), **own}
        if stands_in_layers(kind):
            if "skip_layers" in own:
                raise OptionError(
                    f"The options of the part '{kind}' hold skip_layers={own['skip_layers']}. Expected the layers that "
                    "are left out beside them: --skip-layer on the command line, skip_layers in a recipe. Write them "
                    "there."
                )
            values["skip_layers"] = list(skip_layers)
        parts.append(make_part(kind, values))
    return parts


def count_taken(parts: Sequence[Part]) -> int:
    """Count the positions that some parts take before the pieces of a row: prompts, and prefixes that move them."""
    from polygraft.parts.prefix import Prefix
    from polygraft.parts.prompt import Prompt

    prompts = sum(part.length for part in parts if isinstance(part, Prompt))
    return prompts + sum(part.length for part in parts if isinstance(part, Prefix) and part.moves_positions)
