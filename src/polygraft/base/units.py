"""Where the units of a base are: attention heads and feed-forward neurons, one row a family.

A unit is a set of weights that can go together. Its inner weights compute something for each token, rows of one or
more linear layers; its output weights, columns of one more, add that to the layer's output. With the output columns
at zero the unit adds exactly nothing, whatever its inner weights are. With the inner rows at zero it adds nothing
where the biases of these rows are zero too (those of a head's values; those of a neuron, for activations that take
zero to zero, as all of these families' do). The bias behind the output columns is no unit's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
from jaxtyping import Bool, Float

from polygraft.errors import BaseModelError, GraftError, OptionError, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.base.base import Base

UnitKind = Literal["heads", "neurons"]


@dataclass(frozen=True, kw_only=True)
class UnitPaths:
    """Which linear layers the units of one kind consist of, as paths below a layer of the base."""

    inner: tuple[str, ...]
    """The linear layers that compute the units: a unit has rows of their weights and places of their biases."""
    output: str
    """The linear layer that reads the units: a unit has columns of its weight."""
    optional: tuple[str, ...] = ()
    """More inner layers, which not every base of the family has."""
    num_fused: int = 1
    """How many matrices stand one below the other in each inner layer's weight."""


@dataclass(frozen=True, kw_only=True)
class FamilyUnits:
    """One row of the table: the units of a family, and what of its configuration says how many there are."""

    heads: UnitPaths
    neurons: UnitPaths
    neurons_key: str = "intermediate_size"
    """The key of the configuration for the number of neurons in every layer."""
    has_head_size: bool = False
    """Whether the configuration has a head's size of its own; else it is the hidden size by the number of heads."""


_BERT_HEADS = UnitPaths(
    inner=("attention.self.query", "attention.self.key", "attention.self.value"),
    output="attention.output.dense",
)
_BERT_NEURONS = UnitPaths(inner=("intermediate.dense",), output="output.dense")
_BERT_UNITS = FamilyUnits(heads=_BERT_HEADS, neurons=_BERT_NEURONS)
_LLAMA_UNITS = FamilyUnits(
    heads=UnitPaths(
        inner=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), output="self_attn.o_proj"
    ),
    neurons=UnitPaths(inner=("mlp.gate_proj", "mlp.up_proj"), output="mlp.down_proj"),
    has_head_size=True,
)

UNITS_OF: Mapping[str, FamilyUnits] = {
    "bert": _BERT_UNITS,
    "roberta": _BERT_UNITS,
    "electra": _BERT_UNITS,
    "distilbert": FamilyUnits(
        heads=UnitPaths(
            inner=("attention.q_lin", "attention.k_lin", "attention.v_lin"), output="attention.out_lin"
        ),
        neurons=UnitPaths(inner=("ffn.lin1",), output="ffn.lin2"),
        neurons_key="hidden_dim",
    ),
    "deberta-v2": FamilyUnits(
        heads=UnitPaths(
            inner=("attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj"),
            output="attention.output.dense",
            # Not there where positions are projected by the two of the content (`share_att_key`).
            optional=("attention.self.pos_key_proj", "attention.self.pos_query_proj"),
        ),
        neurons=_BERT_NEURONS,
    ),
    "modernbert": FamilyUnits(
        heads=UnitPaths(inner=("attn.Wqkv",), output="attn.Wo", num_fused=3),
        neurons=UnitPaths(inner=("mlp.Wi",), output="mlp.Wo", num_fused=2),
    ),
    "eurobert": _LLAMA_UNITS,
    "gpt2": FamilyUnits(
        heads=UnitPaths(inner=("attn.c_attn",), output="attn.c_proj", num_fused=3),
        neurons=UnitPaths(inner=("mlp.c_fc",), output="mlp.c_proj"),
        neurons_key="n_inner",
    ),
    "llama": _LLAMA_UNITS,
    "gemma3": _LLAMA_UNITS,
}
"""The row of each family of `base/sites.py`."""


@dataclass(frozen=True, kw_only=True)
class UnitSlice:
    """How one tensor is shared out among the units of a layer.

    The axis is laid out as [`num_fused`, units / `num_sharing`, `size`]: unit `i` has the `size` places of run
    `i // num_sharing`, in each of the fused matrices.
    """

    name: str
    """As in `base.model.named_parameters()`."""
    shape: tuple[int, ...]
    axis: int
    size: int
    num_fused: int = 1
    num_sharing: int = 1
    """How many units in a row have the same weights: query heads that share a key and a value head."""


@dataclass(frozen=True, kw_only=True)
class Units:
    """The units of one kind in one layer."""

    kind: UnitKind
    layer: int
    num_units: int
    """U: attention heads, or feed-forward neurons."""
    inner: tuple[UnitSlice, ...]
    output: UnitSlice
    """Columns: where they are zero, the unit adds nothing to its layer."""

    @property
    def slices(self) -> tuple[UnitSlice, ...]:
        """Every tensor that the units consist of; no tensor has weights of units of both kinds."""
        return (*self.inner, self.output)


def find_family_units(name: str) -> FamilyUnits:
    """Give the row of the table for a family of bases.

    Raises:
        BaseModelError: The table has no such row.
    """
    if name not in UNITS_OF:
        raise BaseModelError(
            f"Where the heads and neurons of the family '{name}' are is not known. Expected one of "
            f"{', '.join(UNITS_OF)}.{nearest(name, UNITS_OF)} Take a base of these, or prune single weights."
        )
    return UNITS_OF[name]


def list_units(base: Base, *, kind: UnitKind) -> list[Units]:
    """List the units of a base, layer by layer.

    Args:
        base: A base.
        kind: "heads" or "neurons".

    Raises:
        OptionError: There is no such kind.
        BaseModelError: The family is not in the table, or the base is not laid out as its row says.

    Example:
        >>> base = load_base("bundled")  # doctest: +SKIP
        >>> list_units(base, kind="heads")[0].num_units  # doctest: +SKIP
        12
    """
    if kind not in get_args(UnitKind):
        raise OptionError(
            f"'{kind}' is no kind of unit. Expected heads or neurons.{nearest(kind, get_args(UnitKind))} Name one of "
            "these."
        )
    family = find_family_units(base.sites.family.name)
    paths = family.heads if kind == "heads" else family.neurons
    shapes = {name: tuple(weight.shape) for name, weight in base.model.named_parameters()}
    num_heads = int(base.model.config.num_attention_heads)
    return [
        _find_units(
            shapes,
            paths=paths,
            kind=kind,
            layer=layer,
            prefix=f"{base.sites.family.layers}.{layer}",
            num_units=num_heads if kind == "heads" else None,
        )
        for layer in range(base.sites.num_layers)
    ]


def _find_units(
    shapes: Mapping[str, tuple[int, ...]],
    *,
    paths: UnitPaths,
    kind: UnitKind,
    layer: int,
    prefix: str,
    num_units: int | None,
) -> Units:
    output = f"{prefix}.{paths.output}.weight"
    rows = [f"{prefix}.{path}.weight" for path in paths.inner]
    missing = [name for name in (*rows, output) if name not in shapes]
    if missing:
        raise BaseModelError(
            f"The {kind} of layer {layer} are expected in the tensor '{missing[0]}', which the base does not have. "
            f"Expected all of {', '.join((*rows, output))}. Load the bare encoder of a Hugging Face model."
        )
    num_columns = shapes[output][1]
    num_units = num_units or num_columns
    size = num_columns // num_units
    inner: list[UnitSlice] = []
    for path in (*paths.inner, *paths.optional):
        for name in (f"{prefix}.{path}.weight", f"{prefix}.{path}.bias"):
            if name in shapes:
                num_runs = shapes[name][0] // (paths.num_fused * size)
                inner.append(
                    UnitSlice(
                        name=name,
                        shape=shapes[name],
                        axis=0,
                        size=size,
                        num_fused=paths.num_fused,
                        num_sharing=num_units // num_runs,
                    )
                )
    columns = UnitSlice(name=output, shape=shapes[output], axis=1, size=size)
    return Units(kind=kind, layer=layer, num_units=num_units, inner=tuple(inner), output=columns)


def expand_units(units: Units, *, kept: Bool[Tensor, " U"]) -> dict[str, Tensor]:
    """Give the masks of the weights that survive, by name; a shared weight does while one of its units is kept.

    Args:
        units: The units of a layer.
        kept: True for each unit that is kept.

    Returns:
        A boolean tensor of the weight's own shape for each of the units' tensors. All other weights survive.

    Raises:
        GraftError: `kept` is not one boolean a unit.

    Example:
        >>> rows = UnitSlice(name="value", shape=(4, 1), axis=0, size=2)
        >>> columns = UnitSlice(name="output", shape=(1, 4), axis=1, size=2)
        >>> units = Units(kind="heads", layer=0, num_units=2, inner=(rows,), output=columns)
        >>> expand_units(units, kept=torch.tensor([False, True]))["output"].tolist()
        [[False, False, True, True]]
    """
    if tuple(kept.shape) != (units.num_units,) or kept.dtype != torch.bool:
        raise GraftError(
            f"The {units.kind} of layer {units.layer} are {units.num_units}, and what is kept of them is told by a "
            f"tensor of the shape {list(kept.shape)} and the type {_name_type(kept)}. Expected [{units.num_units}] and "
            "bool. Make it of the `num_units` that `list_units` gives."
        )
    return {part.name: _spread(kept, part) for part in units.slices}


def _name_type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _spread(kept: Tensor, part: UnitSlice) -> Tensor:
    runs = kept.view(-1, part.num_sharing).any(dim=1)
    places = runs.repeat_interleave(part.size).repeat(part.num_fused)
    across = [1] * len(part.shape)
    across[part.axis] = -1
    return places.view(across).expand(part.shape).contiguous()


def find_kept_units(units: Units, *, masks: Mapping[str, Tensor]) -> Bool[Tensor, " U"]:
    """Tell which units still add something under masks: those of which an output weight survives.

    Args:
        units: The units of a layer.
        masks: Boolean tensors by name, as `expand_units` gives them; single weights may be masked as well.
    """
    part = units.output
    if part.name not in masks:
        return torch.ones(units.num_units, dtype=torch.bool)
    return masks[part.name].any(dim=0).view(-1, part.size).any(dim=1).cpu()


def sum_unit_scores(units: Units, *, scores: Callable[[str], Tensor]) -> Float[Tensor, " U"]:
    """Sum the scores of each unit's weights; a shared weight's is split evenly, so that all are counted once.

    Args:
        units: The units of a layer.
        scores: Gives the scores of a named tensor's weights, in its own shape: `lambda name: weights[name].abs()`.

    Returns:
        Sums in float64.
    """
    total = torch.zeros(units.num_units, dtype=torch.float64)
    for part in units.slices:
        found = scores(part.name).detach()
        others = [axis for axis in range(found.dim()) if axis != part.axis]
        along = found.sum(dim=others, dtype=torch.float64) if others else found.double()
        runs = along.view(part.num_fused, -1, part.size).sum(dim=(0, 2)).cpu()
        total += (runs / part.num_sharing).repeat_interleave(part.num_sharing)
    return total
