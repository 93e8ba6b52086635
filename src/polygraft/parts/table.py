"""The table of parts, by the name that manifests and the command line use."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from polygraft.errors import OptionError, nearest
from polygraft.parts.bitfit import BitFit
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.compacter import Compacter
from polygraft.parts.delta import Delta
from polygraft.parts.fusion import Fusion
from polygraft.parts.glow import Glow
from polygraft.parts.head import Head
from polygraft.parts.ia3 import IA3
from polygraft.parts.invertible import Invertible
from polygraft.parts.lora import Lora
from polygraft.parts.mask import Mask
from polygraft.parts.part import Part
from polygraft.parts.prefix import Prefix
from polygraft.parts.prompt import Prompt
from polygraft.parts.scores import Scores

PARTS: Mapping[str, type[Part]] = {
    "bottleneck": Bottleneck,
    "compacter": Compacter,
    "prefix": Prefix,
    "prompt": Prompt,
    "invertible": Invertible,
    "glow": Glow,
    "lora": Lora,
    "ia3": IA3,
    "bitfit": BitFit,
    "delta": Delta,
    "mask": Mask,
    "scores": Scores,
    "fusion": Fusion,
    "head": Head,
}


def make_part(kind: str, options: Mapping[str, Any]) -> Part:
    """Make a part from its name and plain options.

    Raises:
        OptionError: The kind or an option is unknown.

    Example:
        >>> make_part("bottleneck", {"reduction": 2}).to_options()["reduction"]
        2
    """
    if kind not in PARTS:
        raise OptionError(
            f"There is no part '{kind}'. Known are {', '.join(PARTS)}.{nearest(kind, PARTS)} Correct the "
            "name."
        )
    return PARTS[kind].from_options(options)


def stands_in_layers(kind: str) -> bool:
    """Whether a part of this kind stands in layers of a base, some of which may be left out.

    Example:
        >>> stands_in_layers("prefix"), stands_in_layers("prompt")
        (True, False)
    """
    return any(field.name == "skip_layers" for field in dataclasses.fields(PARTS[kind]))
