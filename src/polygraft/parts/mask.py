"""The mask: which of the base's weights survive, with retrained values or as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from polygraft.errors import OptionError
from polygraft.parts.delta import check_counts, check_room
from polygraft.parts.edit import VALUE_DTYPES, Edit, EditLayers, add_gradient
from polygraft.parts.part import Dimensions, check_choice
from polygraft.parts.stored_places import StoredPlaces


@dataclass(frozen=True, kw_only=True)
class Mask(Edit):
    """Keeps some of the base's weights and sets the others to zero.

    Of the survivors, some, all or none have values of their own:

    - none: a pure mask of the frozen weights, one bit a weight (Piggyback: Mallya et al. 2018);
    - all: pruned and retrained (Han et al. 2015; Frankle & Carbin 2019);
    - some: what other grafts below left as survivors stays as it is (PackNet: Mallya & Lazebnik 2018).

    A value of its own wins over what a graft below made of that weight. A fresh mask without values keeps everything,
    and changes nothing.

    Example:
        >>> Mask(weights=("linear",)).num_kept is None
        True
    """

    kind: ClassVar[str] = "mask"

    num_kept: int | None = None
    """How many weights survive; None is all of them."""
    num_code_bytes: int | None = None
    """Size of the packed mask; None where all survive."""
    retrained: Literal["none", "all", "some"] = "none"
    """Which of the survivors have values of their own."""
    num_values: int | None = None
    """How many have, where some have."""
    num_value_code_bytes: int | None = None
    """Size of the packed places of these, where some have."""
    dtype: Literal["float32", "float16"] = "float32"
    """Number format of the values."""

    def __post_init__(self) -> None:
        """Refuse options that cannot be meant."""
        check_choice(self.kind, "dtype", self.dtype, tuple(VALUE_DTYPES))
        check_choice(self.kind, "retrained", self.retrained, ("none", "all", "some"))
        check_counts(self.kind, num_values=self.num_kept, num_code_bytes=self.num_code_bytes)
        check_counts(self.kind, num_values=self.num_values, num_code_bytes=self.num_value_code_bytes)
        if (self.num_values is not None) != (self.retrained == "some"):
            raise OptionError(
                f"The part 'mask' has retrained='{self.retrained}' and num_values={self.num_values}. Expected a number "
                "with 'some', and none with 'all' or 'none'. Make it from masks."
            )

    @override
    def build(self, dimensions: Dimensions, *, generator: torch.Generator) -> MaskLayers:
        return MaskLayers(self, dimensions=dimensions)


class MaskLayers(EditLayers):
    """The survivors of one graft, and their values."""

    def __init__(self, options: Mask, *, dimensions: Dimensions) -> None:
        super().__init__(options, dimensions=dimensions)
        total = self.starts[-1]
        for count, num_bytes in (
            (options.num_kept, options.num_code_bytes),
            (options.num_values, options.num_value_code_bytes),
        ):
            check_room("mask", num_values=count, num_code_bytes=num_bytes, sizes=self.sizes)
        self.num_kept = total if options.num_kept is None else options.num_kept
        self.kept: StoredPlaces | None = None
        self.valued: StoredPlaces | None = None
        self.values: nn.Parameter | None = None
        if options.num_code_bytes is not None:
            self.kept = StoredPlaces("mask", num_bytes=options.num_code_bytes)
        elif options.retrained == "none":
            # A graft holds something in any case.
            self.register_buffer("everything", torch.ones(1, dtype=torch.uint8))
        num_values = {"none": 0, "all": self.num_kept}.get(options.retrained, options.num_values or 0)
        if options.num_value_code_bytes is not None:
            self.valued = StoredPlaces("mask", num_bytes=options.num_value_code_bytes)
        if options.retrained != "none":
            self.values = nn.Parameter(torch.zeros(num_values, dtype=VALUE_DTYPES[options.dtype]))

    @override
    def find_places(self, name: str) -> Tensor | None:
        self.find_kept(name)
        self.find_valued(name)
        return None

    def find_kept(self, name: str) -> Tensor | None:
        """Give the sorted flat places of a weight that survive, int64 [K]; None is all of them."""
        if self.kept is None:
            return None
        return self.kept.decode(self.sizes, total=self.num_kept)[self.index_of[name]]

    def find_valued(self, name: str) -> Tensor | None:
        """Give the sorted flat places of a weight with values of their own, int64 [K]; None is all of them."""
        if self.values is None:
            return torch.empty(0, dtype=torch.int64)
        stored = self.kept if self.valued is None else self.valued
        return (
            None if stored is None else stored.decode(self.sizes, total=len(self.values))[self.index_of[name]]
        )

    def find_span(self, name: str) -> slice:
        """Give where the values of a weight are among all of them."""
        stored, index = self.kept if self.valued is None else self.valued, self.index_of[name]
        starts = self.starts
        if stored is not None and self.values is not None:
            starts = stored.list_starts(self.sizes, total=len(self.values))
        return slice(starts[index], starts[index + 1])

    @override
    def edit(self, name: str, v: Tensor, *, at: Tensor | None) -> None:
        kept, valued = self.find_kept(name), self.find_valued(name)
        if self.values is None or self.valued is not None:
            _keep(v, kept)
        elif kept is not None:
            # Every survivor has a value of its own.
            v.zero_()
        if self.values is not None:
            v[slice(None) if valued is None else valued] = self.values.detach()[self.find_span(name)].to(
                v.dtype
            )

    @override
    def differentiate(
        self, name: str, grad: Tensor, *, at: Tensor | None, below: Callable[[], Tensor]
    ) -> None:
        kept, valued, values = self.find_kept(name), self.find_valued(name), self.values
        if values is not None and values.requires_grad:
            add_gradient(values, self.find_span(name).start, grad if valued is None else grad[valued])
        _keep(grad, kept)
        if values is not None:
            if valued is None:
                grad.zero_()
            else:
                grad[valued] = 0


def _keep(v: Tensor, places: Tensor | None) -> None:
    """Set all but some places of a vector to zero; None keeps all."""
    if places is not None:
        kept = v[places]
        v.zero_()
        v[places] = kept
