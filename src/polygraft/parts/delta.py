"""The delta: a sparse difference that is added to the base's weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from polygraft.errors import OptionError
from polygraft.parts.edit import VALUE_DTYPES, Edit, EditLayers, add_gradient
from polygraft.parts.part import Dimensions, check_choice
from polygraft.parts.stored_places import StoredPlaces

MOST_HEADER_BYTES = 32
"""More than what the code of a weight's places has beside the places themselves."""


@dataclass(frozen=True, kw_only=True)
class Delta(Edit):
    """Adds learned differences to chosen weights of the base, at chosen places.

    With W a weight, m its mask and d the values: `W' = W + d` where m is set, `W' = W` elsewhere (composable sparse
    fine-tuning: Ansell et al. 2022). Deltas of several grafts add up. A fresh delta changes nothing: d is zero.

    Example:
        >>> Delta(weights=("linear", "norm")).kind
        'delta'
    """

    kind: ClassVar[str] = "delta"

    num_values: int | None = None
    """How many places may change; None is all of them."""
    num_code_bytes: int | None = None
    """Size of the packed mask; None where all places may change."""
    dtype: Literal["float32", "float16"] = "float32"
    """Number format of the values."""

    def __post_init__(self) -> None:
        """Refuse options that cannot be meant."""
        check_choice(self.kind, "dtype", self.dtype, tuple(VALUE_DTYPES))
        check_counts(self.kind, num_values=self.num_values, num_code_bytes=self.num_code_bytes)

    @override
    def build(self, dimensions: Dimensions, *, generator: torch.Generator) -> DeltaLayers:
        return DeltaLayers(self, dimensions=dimensions)


def check_counts(kind: str, *, num_values: int | None, num_code_bytes: int | None) -> None:
    """Refuse a number of places without the size of their code, and the other way round.

    Raises:
        OptionError: One is there without the other, or below zero.
    """
    if (num_values is None) != (num_code_bytes is None) or (num_values or 0) < 0 or (num_code_bytes or 0) < 0:
        raise OptionError(
            f"The part '{kind}' has {num_values} places and {num_code_bytes} bytes that say which. Expected two "
            "numbers, 0 or more, or none of both for all places. Make it from a mask."
        )


def check_room(
    kind: str, *, num_values: int | None, num_code_bytes: int | None, sizes: Sequence[int]
) -> None:
    """Refuse more places than weights have, before there is memory for them: a manifest may say anything.

    Raises:
        OptionError: There are more, or their code is longer than any that could be read.
    """
    total = sum(sizes)
    most = total + MOST_HEADER_BYTES * len(sizes)
    if (num_values or 0) > total or (num_code_bytes or 0) > most:
        raise OptionError(
            f"The part '{kind}' has {num_values} places and {num_code_bytes} bytes that say which, for {len(sizes)} "
            f"weights of {total:,} numbers. Expected at most {total:,} places and {most:,} bytes. Make it from a mask."
        )


class DeltaLayers(EditLayers):
    """The differences of one graft."""

    def __init__(self, options: Delta, *, dimensions: Dimensions) -> None:
        super().__init__(options, dimensions=dimensions)
        check_room(
            options.kind,
            num_values=options.num_values,
            num_code_bytes=options.num_code_bytes,
            sizes=self.sizes,
        )
        self.places: StoredPlaces | None = None
        if options.num_code_bytes is not None:
            self.places = StoredPlaces(options.kind, num_bytes=options.num_code_bytes)
        total = self.starts[-1] if options.num_values is None else options.num_values
        self.values = nn.Parameter(torch.zeros(total, dtype=VALUE_DTYPES[options.dtype]))

    @override
    def find_places(self, name: str) -> Tensor | None:
        if self.places is None:
            return None
        return self.places.decode(self.sizes, total=len(self.values))[self.index_of[name]]

    def find_span(self, name: str) -> slice:
        """Give where the values of a weight are among all of them."""
        stored, index = self.places, self.index_of[name]
        starts = self.starts if stored is None else stored.list_starts(self.sizes, total=len(self.values))
        return slice(starts[index], starts[index + 1])

    def read(self, name: str) -> Tensor:
        """Give the values of a weight [K]."""
        return self.values.detach()[self.find_span(name)]

    @override
    def edit(self, name: str, v: Tensor, *, at: Tensor | None) -> None:
        values = self.read(name)
        if at is None:
            v += values
        else:
            v.index_add_(0, at, values.to(v.dtype))

    @override
    def differentiate(
        self, name: str, grad: Tensor, *, at: Tensor | None, below: Callable[[], Tensor]
    ) -> None:
        if self.values.requires_grad:
            add_gradient(self.values, self.find_span(name).start, grad if at is None else grad[at])
