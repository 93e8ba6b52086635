"""Where the linear maps of a base's layers are, by what they compute: one row a family.

Several maps may stand one below the other in one layer's weight, as ModernBERT's and GPT-2's queries, keys and
values do; each is then a run of that layer's outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from polygraft.errors import BaseModelError, OptionError
from polygraft.types import ProjectionInfo, ProjectionRole

if TYPE_CHECKING:
    from torch import Tensor, nn

    from polygraft.base.sites import Sites


@dataclass(frozen=True, kw_only=True)
class ProjectionPath:
    """Where one linear map is, below a layer of the base."""

    path: str
    index: int = 0
    """Which of the maps that the layer holds."""
    num_fused: int = 1
    """How many of equal size it holds."""


def _fused(path: str, *, index: int, num_fused: int) -> ProjectionPath:
    return ProjectionPath(path=path, index=index, num_fused=num_fused)


_BERT: Mapping[ProjectionRole, ProjectionPath] = {
    "query": ProjectionPath(path="attention.self.query"),
    "key": ProjectionPath(path="attention.self.key"),
    "value": ProjectionPath(path="attention.self.value"),
    "output": ProjectionPath(path="attention.output.dense"),
    "up": ProjectionPath(path="intermediate.dense"),
    "down": ProjectionPath(path="output.dense"),
}

_LLAMA: Mapping[ProjectionRole, ProjectionPath] = {
    "query": ProjectionPath(path="self_attn.q_proj"),
    "key": ProjectionPath(path="self_attn.k_proj"),
    "value": ProjectionPath(path="self_attn.v_proj"),
    "output": ProjectionPath(path="self_attn.o_proj"),
    "gate": ProjectionPath(path="mlp.gate_proj"),
    "up": ProjectionPath(path="mlp.up_proj"),
    "down": ProjectionPath(path="mlp.down_proj"),
}

PROJECTIONS_OF: Mapping[str, Mapping[ProjectionRole, ProjectionPath]] = {
    "bert": _BERT,
    "roberta": _BERT,
    "electra": _BERT,
    "distilbert": {
        "query": ProjectionPath(path="attention.q_lin"),
        "key": ProjectionPath(path="attention.k_lin"),
        "value": ProjectionPath(path="attention.v_lin"),
        "output": ProjectionPath(path="attention.out_lin"),
        "up": ProjectionPath(path="ffn.lin1"),
        "down": ProjectionPath(path="ffn.lin2"),
    },
    "deberta-v2": {
        "query": ProjectionPath(path="attention.self.query_proj"),
        "key": ProjectionPath(path="attention.self.key_proj"),
        "value": ProjectionPath(path="attention.self.value_proj"),
        "output": ProjectionPath(path="attention.output.dense"),
        "up": ProjectionPath(path="intermediate.dense"),
        "down": ProjectionPath(path="output.dense"),
    },
    "modernbert": {
        "query": _fused("attn.Wqkv", index=0, num_fused=3),
        "key": _fused("attn.Wqkv", index=1, num_fused=3),
        "value": _fused("attn.Wqkv", index=2, num_fused=3),
        "output": ProjectionPath(path="attn.Wo"),
        "gate": _fused("mlp.Wi", index=0, num_fused=2),
        "up": _fused("mlp.Wi", index=1, num_fused=2),
        "down": ProjectionPath(path="mlp.Wo"),
    },
    "eurobert": _LLAMA,
    "llama": _LLAMA,
    "gemma3": _LLAMA,
    "gpt2": {
        "query": _fused("attn.c_attn", index=0, num_fused=3),
        "key": _fused("attn.c_attn", index=1, num_fused=3),
        "value": _fused("attn.c_attn", index=2, num_fused=3),
        "output": ProjectionPath(path="attn.c_proj"),
        "up": ProjectionPath(path="mlp.c_fc"),
        "down": ProjectionPath(path="mlp.c_proj"),
    },
}
"""The row of each family of `base/sites.py`."""


@dataclass(frozen=True, kw_only=True)
class Projection:
    """One linear map of a base, found."""

    linear: nn.Linear
    """The layer that computes it, perhaps among others."""
    rows: slice
    """Its run of the layer's outputs."""
    num_rows: int
    num_outputs: int
    """How many outputs the layer has in all."""
    columns: int

    @property
    def weight(self) -> Tensor:
        """Give its weight [rows, columns], a view of the base's own."""
        return self.linear.weight[self.rows]

    @property
    def bias(self) -> Tensor | None:
        """Give its bias [rows], a view of the base's own, or None."""
        bias: Tensor | None = self.linear.bias
        return None if bias is None else bias[self.rows]  # pyright: ignore[reportUnnecessaryComparison]


def find_projection(sites: Sites, *, layer: int, role: ProjectionRole) -> Projection:
    """Find one linear map of a base.

    Args:
        sites: The base's places.
        layer: Index of the layer, from 0.
        role: What the map computes.

    Raises:
        OptionError: The family has no such map.
    """
    paths = find_family_projections(sites.family.name)
    if role not in paths:
        raise OptionError(
            f"A base of the family '{sites.family.name}' has no linear layer for '{role}'. Expected one of "
            f"{', '.join(paths)}. Choose among these."
        )
    path = paths[role]
    linear = cast("nn.Linear", sites.layers[layer].get_submodule(path.path))
    num_outputs, columns = linear.weight.shape
    size = num_outputs // path.num_fused
    return Projection(
        linear=linear,
        rows=slice(path.index * size, (path.index + 1) * size),
        num_rows=size,
        num_outputs=num_outputs,
        columns=columns,
    )


def find_family_projections(name: str) -> Mapping[ProjectionRole, ProjectionPath]:
    """Give the row of the table for a family of bases.

    Raises:
        BaseModelError: The table has no such row.
    """
    if name not in PROJECTIONS_OF:
        raise BaseModelError(
            f"Where the linear layers of the family '{name}' are is not known. Expected one of "
            f"{', '.join(PROJECTIONS_OF)}. Take a base of these, or parts that stand behind sublayers."
        )
    return PROJECTIONS_OF[name]


def list_projections(sites: Sites) -> tuple[ProjectionInfo, ...]:
    """List the linear maps of a base, layer by layer, in the order of their roles."""
    found: list[ProjectionInfo] = []
    for layer in range(sites.num_layers):
        for role in find_family_projections(sites.family.name):
            projection = find_projection(sites, layer=layer, role=role)
            found.append(
                ProjectionInfo(
                    layer=layer,
                    role=role,
                    rows=projection.num_rows,
                    columns=projection.columns,
                    has_bias=projection.bias is not None,
                )
            )
    return tuple(found)
