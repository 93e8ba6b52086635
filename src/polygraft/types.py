"""Values that folders hand to each other which do not know one another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

TEXT_OBJECTIVES: Mapping[str, str] = {"mlm": "masked-LM", "causal": "causal-LM"}
"""What grafts learn from plain text, and what it is called before "head" and "loss": to guess hidden pieces, or the
next piece."""
UNKNOWN_LANGUAGE = "und"
"""What ISO 639 calls a language that nobody named; results hold it, and tables leave it out."""
TextRows = Literal["sentences", "joined"]
"""How a plain text becomes rows to learn from: a line a row, or lines one after the other, cut into full rows."""
WeightRole = Literal["linear", "bias", "norm", "embedding", "other"]
ProjectionRole = Literal["query", "key", "value", "output", "up", "gate", "down"]
"""What a linear layer of a transformer's layer computes: four of the attention, and those of the feed-forward, where
`gate` goes through the activation in families whose feed-forward has two branches, and `up` in those with one."""


@dataclass(frozen=True, kw_only=True)
class WeightInfo:
    """One weight of a base: what it is called and where it stands."""

    name: str
    """As in `model.named_parameters()`."""
    shape: tuple[int, ...]
    role: WeightRole
    """The weight or bias of a linear layer, either of a norm, or an embedding."""
    layer: int | None
    """Index of the layer that it is in, counted from 0; None outside of all layers."""

    @property
    def size(self) -> int:
        """Count its numbers."""
        count = 1
        for axis in self.shape:
            count *= axis
        return count


@dataclass(frozen=True, kw_only=True)
class ProjectionInfo:
    """One linear map of a base's layer: which one it is and how large."""

    layer: int
    """Index of the layer that it is in, counted from 0."""
    role: ProjectionRole
    rows: int
    """Size of what it gives."""
    columns: int
    """Size of what it reads."""
    has_bias: bool = True
