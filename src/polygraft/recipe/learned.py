"""Which part a graft learns with: a bottleneck, or another one in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from polygraft.errors import OptionError, nearest

if TYPE_CHECKING:
    from polygraft.parts.part import Part

LearnedPart = Literal["bottleneck", "lora", "ia3", "bitfit"]
LEARNED_PARTS: tuple[str, ...] = get_args(LearnedPart)


def make_learned_part(kind: str, options: Mapping[str, Any], *, skip_layers: Sequence[int]) -> Part:
    """Make the part that a graft learns with.

    Args:
        kind: One of `LEARNED_PARTS`.
        options: Its own options, as its page lists them, without the layers that are left out.
        skip_layers: These.

    Raises:
        OptionError: The kind or an option is unknown, or a value cannot be meant.

    Example:
        >>> make_learned_part("lora", {"rank": 4}, skip_layers=[0]).to_options()["rank"]
        4
    """
    if kind not in LEARNED_PARTS:
        raise OptionError(
            f"A graft was to learn with the part '{kind}'. Expected one of {', '.join(LEARNED_PARTS)}."
            f"{nearest(kind, LEARNED_PARTS)} Choose one."
        )
    if "skip_layers" in options:
        raise OptionError(
            f"The options of the part '{kind}' hold skip_layers={options['skip_layers']}. Expected the layers that are "
            "left out beside them: --skip-layer on the command line, skip_layers in a recipe. Write them there."
        )
    # Loaded here, since recipes are read without torch.
    from polygraft.parts.table import make_part

    return make_part(kind, {**options, "skip_layers": list(skip_layers)})
