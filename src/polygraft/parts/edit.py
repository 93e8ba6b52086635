"""Parts that change the base's own weights while their graft is attached."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar, get_args

import torch
from torch import Tensor, nn

from polygraft.errors import OptionError, nearest
from polygraft.parts.part import Dimensions, Part, find_layers
from polygraft.types import WeightInfo, WeightRole

VALUE_DTYPES = {"float32": torch.float32, "float16": torch.float16}
"""Number formats in which values may be stored."""


@dataclass(frozen=True, kw_only=True)
class Edit(Part, ABC):
    """What parts that change weights have in common: which weights they are about."""

    without_biases: ClassVar[str] = ""
    """What to do where biases are asked for and the base has none, for the message; empty where nothing special is."""

    weights: tuple[str, ...] = ("linear",)
    """Roles (`linear`, `bias`, `norm`, `embedding`) or patterns of names, such as `*.attention.*.weight`."""
    skip_layers: tuple[int, ...] = ()
    """Layers whose weights are left alone; negative ones count from the end."""

    def find_weights(self, dimensions: Dimensions) -> list[WeightInfo]:
        """List the weights that the part is about, in the base's order.

        Raises:
            OptionError: A pattern matches nothing, or a layer to skip does not exist.
        """
        found: dict[str, WeightInfo] = {}
        for pattern in self.weights:
            matched = [weight for weight in dimensions.weights if _matches(weight, pattern)]
            if not matched:
                raise self._refuse(pattern, [weight.name for weight in dimensions.weights])
            found |= {weight.name: weight for weight in matched}
        skips = set(range(dimensions.num_layers)) - set(
            find_layers(self.kind, skip_layers=self.skip_layers, num_layers=dimensions.num_layers)
        )
        left = [weight for weight in dimensions.weights if weight.name in found and weight.layer not in skips]
        if not left:
            raise OptionError(
                f"The part '{self.kind}' is about no weight: all {len(found)} that {', '.join(self.weights)} names "
                f"are in the layers {', '.join(map(str, sorted(skips)))}, which are left out. Leave fewer out."
            )
        return left

    def _refuse(self, pattern: str, names: Sequence[str]) -> OptionError:
        """Make the error for a pattern that none of the base's weights has."""
        asked = f"The part '{self.kind}' asks for the weights '{pattern}', and"
        if self.without_biases and "bias" in pattern and not any(name.endswith("bias") for name in names):
            return OptionError(f"{asked} the base has no biases. {self.without_biases}")
        roles = [role for role in get_args(WeightRole) if role != "other"]
        return OptionError(
            f"{asked} none of the base's {len(names)} weights is that. Expected {', '.join(roles)}, or a pattern of "
            f"names such as '*.{names[-1].rpartition('.')[2]}'.{nearest(pattern, [*roles, *names])} Correct it."
        )


def _matches(weight: WeightInfo, pattern: str) -> bool:
    return weight.role == pattern or fnmatchcase(weight.name, pattern)


class EditLayers(nn.Module, ABC):
    """The values of a part that changes weights.

    A weight is handled as a flat vector in float32: of all its numbers, or of those at chosen places.
    """

    def __init__(self, options: Edit, *, dimensions: Dimensions) -> None:
        super().__init__()
        self.options = options
        self.infos = options.find_weights(dimensions)
        self.index_of = {weight.name: index for index, weight in enumerate(self.infos)}
        self.sizes = [weight.size for weight in self.infos]
        """How many numbers each of them has."""
        self.starts = list_starts(self.sizes)
        """Where each begins, if all their numbers stand one after the other, and where the last one ends."""

    @property
    def names(self) -> list[str]:
        """The weights that it is about, in the base's order."""
        return list(self.index_of)

    @property
    def lowest_layer(self) -> int:
        """The index of the lowest layer with a weight that it changes; 0 for what stands outside of all layers."""
        return min(weight.layer or 0 for weight in self.infos)

    @property
    def learns(self) -> bool:
        """Whether its values are being trained."""
        return any(values.requires_grad for values in self.parameters())

    @abstractmethod
    def find_places(self, name: str) -> Tensor | None:
        """Give the sorted flat places of a weight that it may change, [K] of int64; None is all of them.

        Raises:
            GraftError: What it holds is not the code of places in the weight.
        """

    @abstractmethod
    def edit(self, name: str, v: Tensor, *, at: Tensor | None) -> None:
        """Change a weight, in place.

        Args:
            name: The weight.
            v: Its numbers, as what is below left them, in float32 [U].
            at: Where in `v` the places of `find_places` are, [K]; None where `v` is just these.
        """

    @abstractmethod
    def differentiate(
        self, name: str, grad: Tensor, *, at: Tensor | None, below: Callable[[], Tensor]
    ) -> None:
        """Add to the gradient of its own values, and turn that of the changed weight into that of what is below.

        Args:
            name: The weight.
            grad: The gradient by the changed weight, float32 [U]; changed in place.
            at: As for `edit`.
            below: Gives the weight's numbers as what is below left them, [U].
        """


def mark(places: Tensor | None, *, size: int) -> Tensor:
    """Give sorted flat places of a weight as bools [size], on the processor; None is all of them.

    Example:
        >>> mark(torch.tensor([1]), size=3)
        tensor([False,  True, False])
    """
    marked = torch.zeros(size, dtype=torch.bool)
    marked[slice(None) if places is None else places.cpu()] = True
    return marked


def list_starts(counts: Sequence[int]) -> list[int]:
    """List where each of several pieces of one vector begins, and where the last one ends.

    Example:
        >>> list_starts([2, 3])
        [0, 2, 5]
    """
    starts = [0]
    for count in counts:
        starts.append(starts[-1] + count)
    return starts


def add_gradient(values: nn.Parameter, start: int, grad: Tensor) -> None:
    """Add to the gradient of some of a vector of values.

    Args:
        values: The whole vector.
        start: Where they begin.
        grad: What is added, float32 [K].
    """
    if values.grad is None:
        values.grad = torch.zeros_like(values)
    values.grad[start : start + len(grad)] += grad
