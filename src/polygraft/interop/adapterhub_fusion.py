"""AdapterHub's fusions: a folder of their own, which names the adapters that they mix."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from polygraft.attach.parse import parse_plan
from polygraft.attach.plan import Fuse, Named
from polygraft.errors import DataError, GraftError
from polygraft.interop.adapterhub_names import check_names, find_places, simplify_name, write_name
from polygraft.interop.named_tensors import read_tensors
from polygraft.interop.options import Options
from polygraft.parts.fusion import Fusion
from polygraft.store.fields import JsonValue

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base
    from polygraft.interop.source import Source

FUSION_CONFIG = "adapter_fusion_config.json"
FUSION_WEIGHTS = ("model_adapter_fusion.safetensors", "pytorch_model_adapter_fusion.bin")
ABOUT = ("hidden_size", "model_class", "model_name", "model_type", "version")
TRAINING_ONLY = ("dropout_prob", "regularization", "value_initialized")
"""What changes nothing that is computed once a fusion is trained."""
SEPARATOR = ","
"""What stands between the members in the name of a fusion that was given none."""
PLACEMENT_NOTE = (
    "The folder does not say where its members stand: a fusion asks with the normed sum at ffn, which is what that "
    "library does for all members but parallel ones."
)


@dataclass(frozen=True, kw_only=True)
class FusionTensors:
    """A fusion that was read."""

    part: Fusion
    members: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    """By the part's own names in a graft, [D, D] or [D]."""


def read_fusion(base: Base, source: Source, config: Mapping[str, JsonValue]) -> FusionTensors:
    """Read a fusion.

    Args:
        base: The base that it was trained on.
        source: Its folder.
        config: What its configuration says.

    Raises:
        DataError: A file is damaged, or asks for what no part does.
    """
    name, members = _read_options(config, where=f"{source.where}/{FUSION_CONFIG}")
    stored = read_tensors(source, names=FUSION_WEIGHTS)
    tensors = {simplify_name(theirs): tensor for theirs, tensor in stored.items()}
    places, num_layers = find_places(base.sites.family.name), base.sites.num_layers
    # What the folder has tensors for says where the members stand, which its configuration does not.
    found = re.compile(rf"{re.escape(places.layers)}\.(\d+)\.(.+)\.adapter_fusion_layer\..+")
    matches = [match for theirs in tensors if (match := found.fullmatch(theirs))]
    layers = {int(match[1]) for match in matches if int(match[1]) < num_layers}
    if not layers:
        raise DataError(
            f"{source.where} has no tensors of a fusion in the {num_layers} layers of '{base.name}'. Expected some "
            f"under '{places.layers}.0.{places.ffn}.adapter_fusion_layer.{name}'. Import it on the base that it was "
            "trained on."
        )
    part = Fusion(
        placement="attention+ffn" if any(match[2] == places.attention for match in matches) else "ffn",
        skip_layers=tuple(layer for layer in range(num_layers) if layer not in layers),
    )
    sublayers = ("attention", "ffn") if part.placement == "attention+ffn" else ("ffn",)
    own = [
        f"{Fusion.kind}.layers.{layer}.{sublayer}.{kind}"
        for layer in sorted(layers)
        for sublayer in sublayers
        for kind in ("query.weight", "query.bias", "key.weight", "key.bias", "value")
    ]
    wanted = {write_name(each, name=name, places=places): each for each in own}
    named = {theirs: ours for theirs, ours in wanted.items() if theirs is not None}
    check_names(tensors, named, where=source.where)
    return FusionTensors(
        part=part, members=members, tensors={named[theirs]: tensor for theirs, tensor in tensors.items()}
    )


def _read_options(config: Mapping[str, JsonValue], *, where: str) -> tuple[str, tuple[str, ...]]:
    """Give the fusion's name in that library, and those of its members."""
    outer = Options(config, where=where)
    outer.ignore(*ABOUT)
    members, values = outer.texts("adapter_names"), outer.mapping("config")
    name = outer.text("name", SEPARATOR.join(members)) or ""
    outer.close()
    if len(members) < 2 or values is None:
        what = "no config" if values is None else f"the adapter_names {', '.join(members) or 'of nothing'}"
        raise DataError(
            f"{where} has {what}. Expected the names of two adapters or more, and a configuration. Get the file again "
            "from where it was made."
        )
    options = Options(values, where=f"{where}, config")
    options.ignore(*TRAINING_ONLY)
    for key in ("query", "key", "value"):
        options.expect(key, True, why="a fusion has all three projections")
    options.expect("query_before_ln", False, why="a fusion asks with what its members read")
    options.expect("residual_before", False, why="a fusion mixes what its members add, without the residual")
    options.expect("temperature", False, why="a fusion has no temperature")
    # The projection of values is linear, and the shares add up to 1: before or behind the sum it is the same.
    options.expect("value_before_softmax", True, False, why="that is no truth value")
    options.close()
    return name, members


def write_fusion_options(
    part: Fusion, graft: Graft, *, members: Sequence[str] | None = None
) -> dict[str, object]:
    """Give what adapter_fusion_config.json has besides what it says of the base.

    Args:
        part: The fusion.
        graft: The graft that it is of.
        members: Names of the adapters that it mixes; None takes them from the plan that the graft was trained under.

    Raises:
        GraftError: They are not known, or fewer than two, or the fusion leaves layers out.
    """
    if part.skip_layers:
        listed = ", ".join(map(str, part.skip_layers))
        raise GraftError(
            f"The graft '{graft.name}' has a fusion that skips the layers {listed}, and that library mixes in all "
            "layers in which its members stand. Expected skip_layers=(). Export another graft."
        )
    names = _find_members(graft) if members is None else tuple(members)
    wrong = [name for name in names if not name or SEPARATOR in name or "." in name]
    if len(names) < 2 or wrong or len(set(names)) < len(names):
        found = f"those of {', '.join(names)}" if names else "none"
        raise GraftError(
            f"The graft '{graft.name}' is a fusion, and of the names of its members there are {found}. Expected the "
            "names of two adapters or more, each once and without dots and commas, in the order in which it was "
            "trained on them. Name them with --members."
        )
    return {
        "adapter_names": list(names),
        "config": {
            "dropout_prob": None,
            "key": True,
            "query": True,
            "query_before_ln": False,
            "regularization": True,
            "residual_before": False,
            "temperature": False,
            "value": True,
            "value_before_softmax": True,
            "value_initialized": True,
        },
    }


def _find_members(graft: Graft) -> tuple[str, ...]:
    """Give the names of the grafts that a fusion was trained on, where its manifest says that they stood alone."""
    text = None if graft.manifest is None else graft.manifest.trained_under
    plan = None if text is None else parse_plan(text)
    if not isinstance(plan, Fuse):
        return ()
    named = tuple(member.name for member in plan.members if isinstance(member, Named))
    return named if len(named) == len(plan.members) else ()
