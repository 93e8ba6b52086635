"""AdapterHub's prefix tuning: one network for all layers, of which the file holds a copy for each of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polygraft.errors import DataError, GraftError
from polygraft.interop.adapterhub_names import Places
from polygraft.interop.adapterhub_options import read_activation
from polygraft.interop.options import Options
from polygraft.parts.prefix import Prefix

if TYPE_CHECKING:
    from polygraft.base.base import Base

TRAINING_ONLY = ("dropout", "init_weights_seed")
SEVERAL_ONLY = ("cross_prefix", "shared_gating")
"""What means something in a base with a decoder, or with a gate, only."""
REASONS: Mapping[str, str] = {
    "distilbert": (
        "there that library adds one to a prefix's scores in batches with padding, and nothing in others, unless its "
        "attention is 'eager': no prefix here does both"
    ),
    "deberta-v2": "such a base computes its attention by itself, so that no prefix can be put into it here",
}
"""Why prefixes are not brought over, by the family."""
_ONCE = "prefix_tuning."
"""Where the one network stands."""
_COPY = re.compile(r"^.+\.prefix_tuning\.pool\.(prefix_tunings\..+)$")


def check_family(places: Places, *, family: str) -> str:
    """Give where the layers of a family have copies of a prefix.

    Raises:
        GraftError: A prefix does not do the same there as here.
    """
    if places.prefix is None:
        raise GraftError(
            f"A prefix of AdapterHub for bases of the family '{family}' was to be brought over, and {REASONS[family]}. "
            "Expected bert, roberta or electra. Take such a base, or another part, such as lora."
        )
    return places.prefix


def read_prefix_options(options: Options, *, num_layers: int, has_version: bool) -> Prefix:
    """Give the part that a configuration with the architecture `prefix_tuning` asks for.

    Args:
        options: The configuration.
        num_layers: How many layers the base has.
        has_version: Whether the file says which release wrote it.

    Raises:
        DataError: A key is unknown, or asks for what no part does.
    """
    options.expect("architecture", "prefix_tuning", why="that is another architecture")
    options.ignore(*TRAINING_ONLY, *SEVERAL_ONLY)
    options.expect("encoder_prefix", True, why="the bases have no decoder that alone could get it")
    options.expect("use_gating", False, why="no part has a gate")
    length = options.whole("prefix_length", 30)
    if length < 1:
        raise options.refuse("prefix_length", length, why="that is no prefix", expected="1 or more")
    skipped = tuple(sorted({layer for layer in options.wholes("leave_out") if 0 <= layer < num_layers}))
    if len(skipped) == num_layers:
        raise options.refuse(
            "leave_out", list(skipped), why="no layer is left", expected="at least one layer to be left"
        )
    is_flat = options.flag("flat", default=False)
    width = options.whole("bottleneck_size", 512)
    activation = (
        "tanh"
        if is_flat
        else read_activation(options, "non_linearity", has_version=has_version, default="tanh")
    )
    options.ignore("non_linearity")
    if not is_flat and width < 1:
        raise options.refuse("bottleneck_size", width, why="that is no network", expected="1 or more")
    options.close()
    return Prefix(
        length=length,
        reparameterization=None if is_flat else width,
        activation=activation,
        skip_layers=skipped,
    )


def drop_copies(tensors: Mapping[str, Tensor], *, where: str) -> dict[str, Tensor]:
    """Leave out what the layers have again of the network that stands above them.

    Args:
        tensors: Those of the file, by the names of this release for a bare encoder.
        where: What the messages call the file.

    Raises:
        DataError: A copy differs, so that it is not known which of them acts.
    """
    kept: dict[str, Tensor] = {}
    for theirs, tensor in tensors.items():
        found = _COPY.match(theirs)
        own = f"{_ONCE}{found[1]}" if found else theirs
        if own in kept and not torch.equal(kept[own], tensor):
            raise DataError(
                f"{where} has the prefix's network once for each layer, and '{theirs}' differs from the others. "
                "Expected equal ones, since that library has one for all layers. Get the files again from where they "
                "were made."
            )
        kept.setdefault(own, tensor)
    return kept


def add_copies(tensors: Mapping[str, Tensor], *, base: Base, places: Places) -> dict[str, Tensor]:
    """Add what that library writes of a prefix again for every layer, also for those that are left out.

    Args:
        tensors: Those of an adapter, with a prefix or without.
        base: The base.
        places: Where things are in it.

    Raises:
        GraftError: A prefix does not do the same there as here.
    """
    own = {theirs: tensor for theirs, tensor in tensors.items() if theirs.startswith(_ONCE)}
    if not own:
        return dict(tensors)
    where = check_family(places, family=base.sites.family.name)
    copies = {
        f"{places.layers}.{layer}.{where}.pool.{theirs.removeprefix(_ONCE)}": tensor.clone()
        for layer in range(base.sites.num_layers)
        for theirs, tensor in own.items()
    }
    return {**copies, **tensors}


def write_prefix_options(part: Prefix, *, name: str, num_layers: int) -> dict[str, object]:
    """Give the configuration of a part.

    Args:
        part: The part.
        name: The graft's name.
        num_layers: Layers of the base.

    Raises:
        GraftError: That library would compute something else.
    """
    if part.moves_positions:
        raise GraftError(
            f"The graft '{name}' has a prefix with moves_positions=True, and in that library the positions of a text "
            "begin where they always do. Expected False. Export it for PEFT."
        )
    return {
        "architecture": "prefix_tuning",
        "bottleneck_size": 512 if part.reparameterization is None else part.reparameterization,
        "cross_prefix": True,
        "dropout": 0.0,
        "encoder_prefix": True,
        "flat": part.reparameterization is None,
        "init_weights_seed": None,
        "leave_out": sorted({layer % num_layers for layer in part.skip_layers}),
        "non_linearity": part.activation,
        "prefix_length": part.length,
        "shared_gating": True,
        "use_gating": False,
    }
