"""What the configuration of an AdapterHub adapter means as parts: one architecture, or a union of several."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polygraft.errors import DataError
from polygraft.interop.adapterhub_dora import list_biases
from polygraft.interop.adapterhub_linear import read_linear_options
from polygraft.interop.adapterhub_names import find_places
from polygraft.interop.adapterhub_options import lower_keys, read_bottleneck_options
from polygraft.interop.adapterhub_prefix import check_family, read_prefix_options
from polygraft.interop.adapterhub_presets import expand_preset
from polygraft.interop.options import Options, show
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.compacter import Compacter
from polygraft.parts.ia3 import IA3
from polygraft.parts.invertible import Invertible
from polygraft.parts.lora import Lora
from polygraft.parts.part import Part, find_layers
from polygraft.parts.prefix import Prefix
from polygraft.store.fields import JsonValue

if TYPE_CHECKING:
    from polygraft.base.base import Base

UNION = "union"
ARCHITECTURES = ("lora", "prefix_tuning", UNION)
"""What `architecture` may be; a bottleneck or a Compacter has none."""
UNKNOWN: Mapping[str, str] = {
    "reft": "that is ReFT (LoReFT, NoReFT, DiReFT), which changes single hidden states, and no part does",
    "mtl_lora": "that is MTL-LoRA, which has matrices of its own for each task, and no part has",
    "prompt_tuning": (
        "that library puts a prompt behind the embeddings, without positions, and there a classification reads its "
        "first place; the part 'prompt' stands before them, with positions, and is not read"
    ),
}
"""Why other architectures are not brought over."""
ONE_AN_ADAPTER: Mapping[str, tuple[type[Part], ...]] = {
    "prefix": (Prefix,),
    "compacter": (Compacter,),
    "invertible": (Invertible,),
    "lora or ia3": (Lora, IA3),
}
"""The parts of which that library has one in an adapter at most."""
ONE_A_LAYER = (Bottleneck, Compacter)
"""Those of which it has one in a layer at most."""
_VERSION = re.compile(r"adapters\.(\d+)\.(\d+)\.(\d+)(.*)")
_FIXED = (1, 1, 0)
"""The first release that multiplied a LoRA by alpha over its rank; those before it did not."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of an adapter, and what its tensors are multiplied by."""

    part: Part
    factor: float = 1.0
    """Factors of an (IA)3 are multiplied by alpha; of a LoRA it is an option."""


def read_pieces(base: Base, config: JsonValue, *, version: str | None, where: str) -> list[Piece]:
    """Give the parts that a configuration asks for.

    Args:
        base: The base that the adapter was trained on.
        config: What adapter_config.json has under `config`: options, or the name of a configuration.
        version: What the file says of the release that wrote it; None if nothing.
        where: What the messages call the file.

    Raises:
        DataError: A key is unknown, or asks for what no part does.
    """
    # The names of a configuration never changed their meaning.
    has_version = version is not None or isinstance(config, str)
    if isinstance(config, str):
        config = expand_preset(config, where=where)
    if not isinstance(config, dict):
        raise DataError(
            f"{where} has config = {show(config)}. Expected the adapter's configuration. Get the file again from where "
            "it was made."
        )
    if config.get("architecture") != UNION:
        is_faulty = _is_faulty(version, where=where)
        return _read_one(base, config, where=f"{where}, config", has_version=has_version, is_faulty=is_faulty)
    outer = Options(config, where=f"{where}, config")
    outer.ignore("architecture")
    members = outer.take("configs")
    outer.close()
    if not isinstance(members, list) or not members:
        raise outer.refuse(
            "configs", members, why="that is no list of configurations", expected="one or more"
        )
    pieces: list[Piece] = []
    for index, member in enumerate(members):
        inside = f"{where}, config, configs, {index}"
        if not isinstance(member, dict):
            raise outer.refuse("configs", members, why=f"number {index} is no object", expected="objects")
        if member.get("architecture") == UNION:
            raise outer.refuse(
                "configs", members, why="a union has no unions in it", expected="other configurations"
            )
        # That library brings activations and alpha of old releases up to date outside of unions only.
        pieces += _read_one(base, member, where=inside, has_version=True, is_faulty=False)
    _check_once(pieces, num_layers=base.sites.num_layers, where=where)
    return pieces


def _read_one(
    base: Base, config: Mapping[str, JsonValue], *, where: str, has_version: bool, is_faulty: bool
) -> list[Piece]:
    options = Options(lower_keys(config, where=where), where=where)
    num_layers, family = base.sites.num_layers, base.sites.family.name
    architecture = options.take("architecture")
    if isinstance(architecture, str) and architecture in UNKNOWN:
        raise options.refuse(
            "architecture",
            architecture,
            why=UNKNOWN[architecture],
            expected=f"null or one of {', '.join(ARCHITECTURES)}",
        )
    options.expect("architecture", *ARCHITECTURES, why="no adapters of that architecture are brought over")
    match architecture:
        case "lora":
            part = read_linear_options(options, num_layers=num_layers, is_faulty=is_faulty)
            if isinstance(part, IA3):
                return [Piece(part=part, factor=1.0 if is_faulty else float(options.number("alpha", 8)))]
            biases = list_biases(base, part, find_places(family))
            return [Piece(part=part), *(Piece(part=each) for each in biases)]
        case "prefix_tuning":
            check_family(find_places(family), family=family)
            return [Piece(part=read_prefix_options(options, num_layers=num_layers, has_version=has_version))]
        case _:
            parts = read_bottleneck_options(
                options, num_layers=num_layers, hidden=base.sites.hidden, has_version=has_version
            )
            return [Piece(part=part) for part in parts]


def _is_faulty(version: str | None, *, where: str) -> bool:
    """Whether the release that wrote a file left alpha and rank out of what it computed with a LoRA."""
    if version is None or not version.startswith("adapters."):
        return False
    found = _VERSION.fullmatch(version)
    if found is None:
        raise DataError(
            f"{where} has version = {show(version)}, which is no release that polygraft knows. Expected one such as "
            "adapters.1.3.0. Get the file again from where it was made."
        )
    numbers = (int(found[1]), int(found[2]), int(found[3]))
    # A release candidate comes before the release.
    return numbers < _FIXED or (numbers == _FIXED and bool(re.match(r"\.?(?:dev|a|b|rc)", found[4])))


def _check_once(pieces: Sequence[Piece], *, num_layers: int, where: str) -> None:
    """Refuse a union that says twice what stands in a place."""
    clash = find_clash([piece.part for piece in pieces], num_layers=num_layers)
    if clash is not None:
        raise DataError(
            f"{where} has a union with {clash}. Expected one at most, as in that library. Get the file again from "
            "where it was made."
        )


def find_clash(parts: Sequence[Part], *, num_layers: int) -> str | None:
    """Say of what there is more in a place than that library has there; None if of nothing.

    Args:
        parts: The parts of one adapter.
        num_layers: How many layers the base has.
    """
    for name, kinds in ONE_AN_ADAPTER.items():
        if sum(isinstance(part, kinds) for part in parts) > 1:
            return f"two parts of the kind {name}"
    found: set[int] = set()
    for part in parts:
        if isinstance(part, ONE_A_LAYER):
            layers = set(list_layers(part, num_layers=num_layers))
            if found & layers:
                return f"two bottlenecks or compacters in layer {min(found & layers)}"
            found |= layers
    return None


def list_layers(part: Bottleneck | Compacter, *, num_layers: int) -> list[int]:
    """List the layers of a base that a part stands in."""
    return find_layers(part.kind, skip_layers=part.skip_layers, num_layers=num_layers)
