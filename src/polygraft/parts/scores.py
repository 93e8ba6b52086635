"""Scores: a mask that is being learned."""

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
class Scores(Edit):
    """Learns which of the base's weights survive: those whose score is above a threshold.

    With W a weight and s its scores, `W' = W` where s is above the threshold and 0 elsewhere. The threshold has no
    slope, so that the gradient is passed straight through it: `dL/ds = dL/dW' * W` (Bengio et al. 2013; Piggyback,
    Mallya et al. 2018, section 3; the scores of movement pruning, Sanh et al. 2020, section 4, are the same). What is
    stored in the end is a `mask`, one bit a weight.

    A fresh one keeps everything, and changes nothing.

    Example:
        >>> Scores().init > Scores().threshold
        True
    """

    kind: ClassVar[str] = "scores"

    init: float = 0.01
    """The scores at the start."""
    threshold: float = 0.005
    """Weights whose score is not above it are set to zero."""

    def __post_init__(self) -> None:
        """Refuse options that cannot be meant."""
        if self.init <= self.threshold:
            raise OptionError(
                f"The part 'scores' has init={self.init:g} and threshold={self.threshold:g}, so that nothing would be "
                "left. Expected scores above the threshold. Raise the first, or lower the second."
            )

    @override
    def build(self, dimensions: Dimensions, *, generator: torch.Generator) -> ScoresLayers:
        return ScoresLayers(self, dimensions=dimensions)


class ScoresLayers(EditLayers):
    """The scores of all weights that one graft is about."""

    def __init__(self, options: Scores, *, dimensions: Dimensions) -> None:
        super().__init__(options, dimensions=dimensions)
        self.values = nn.Parameter(torch.full((self.starts[-1],), options.init))
        self.register_buffer("threshold", torch.tensor(options.threshold))

    @override
    def find_places(self, name: str) -> Tensor | None:
        return None

    def find_span(self, name: str) -> slice:
        """Give where the scores of a weight are among all of them."""
        index = self.index_of[name]
        return slice(self.starts[index], self.starts[index + 1])

    def read(self, name: str) -> Tensor:
        """Give the scores of a weight, flat [U]."""
        return self.values.detach()[self.find_span(name)]

    def find_pruned(self, name: str) -> Tensor:
        """Give which numbers of a weight are set to zero, flat [U] of bool."""
        return self.read(name) <= self.get_buffer("threshold")

    @override
    def edit(self, name: str, v: Tensor, *, at: Tensor | None) -> None:
        v.masked_fill_(self.find_pruned(name), 0.0)

    @override
    def differentiate(
        self, name: str, grad: Tensor, *, at: Tensor | None, below: Callable[[], Tensor]
    ) -> None:
        if self.values.requires_grad:
            add_gradient(self.values, self.find_span(name).start, grad * below())
        grad.masked_fill_(self.find_pruned(name), 0.0)
