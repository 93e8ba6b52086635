"""BitFit: learned differences to the base's biases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from polygraft.errors import OptionError
from polygraft.parts.edit import Edit, EditLayers, add_gradient
from polygraft.parts.part import Dimensions


@dataclass(frozen=True, kw_only=True)
class BitFit(Edit):
    """Adds learned differences to all biases of the base, or to other small weights.

    With b a bias and d what is learned: `b' = b + d` (BitFit: Ben Zaken et al. 2022). The biases of linear layers and
    of norms are meant by default; `weights=("norm",)` changes norms alone, their weights too, for bases without
    biases. A fresh one changes nothing: d is zero.

    Example:
        >>> BitFit().weights
        ('*.bias',)
    """

    kind: ClassVar[str] = "bitfit"
    without_biases: ClassVar[str] = (
        "Expected weights that it has: those of its norms can learn in the place of biases. Ask for them with "
        """--option 'weights=["norm"]' on the command line (--option 'bitfit.weights=["norm"]' beside other parts), """
        """or with weights = ["norm"] among the part's options in a recipe."""
    )

    weights: tuple[str, ...] = ("*.bias",)
    """Roles (`linear`, `bias`, `norm`, `embedding`) or patterns of names, such as `*.attention.*.bias`."""

    def __post_init__(self) -> None:
        """Refuse options that cannot be meant."""
        if not self.weights:
            raise OptionError(
                "The part 'bitfit' has no weights, so it would change nothing. Expected roles or patterns of names, "
                "such as '*.bias'. Name at least one."
            )

    @override
    def build(self, dimensions: Dimensions, *, generator: torch.Generator) -> BitFitLayers:
        return BitFitLayers(self, dimensions=dimensions)


class BitFitLayers(EditLayers):
    """The differences of one graft, those of all its weights one after the other."""

    def __init__(self, options: BitFit, *, dimensions: Dimensions) -> None:
        super().__init__(options, dimensions=dimensions)
        self.values = nn.Parameter(torch.zeros(self.starts[-1]))

    @override
    def find_places(self, name: str) -> Tensor | None:
        return None

    def find_span(self, name: str) -> slice:
        """Give where the differences of a weight are among all of them."""
        index = self.index_of[name]
        return slice(self.starts[index], self.starts[index + 1])

    @override
    def edit(self, name: str, v: Tensor, *, at: Tensor | None) -> None:
        v += self.values.detach()[self.find_span(name)]

    @override
    def differentiate(
        self, name: str, grad: Tensor, *, at: Tensor | None, below: Callable[[], Tensor]
    ) -> None:
        if self.values.requires_grad:
            add_gradient(self.values, self.find_span(name).start, grad)
