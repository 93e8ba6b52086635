"""Sums over batches that criteria are made of: one tensor in float32 a weight, or one vector a layer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from polygraft.errors import GraftError


class MovementSums:
    """Gathers -grad w over batches (Sanh et al. 2020): positive where training moves a weight away from zero.

    Example:
        >>> sums = MovementSums()
        >>> sums.add("w", torch.tensor([1.0, -1.0]), torch.tensor([2.0, 3.0]))
        >>> sums.sums["w"]
        tensor([-2.,  3.])
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    @property
    def sums(self) -> Mapping[str, Tensor]:
        """What was gathered, by the weight's name."""
        return self._sums

    def add(self, name: str, grad: Tensor, weight: Tensor) -> None:
        """Add what one batch gave.

        Args:
            name: The weight's name.
            grad: Its gradient.
            weight: The weight at which the gradient was taken.

        Raises:
            GraftError: The shapes differ.
        """
        if weight.shape != grad.shape:
            raise GraftError(
                f"'{name}' has the shape {tuple(weight.shape)}, and its gradient {tuple(grad.shape)}. One shape was "
                "expected. Add what belongs to one weight under one name."
            )
        total = _start(self._sums, name, grad)
        total.addcmul_(_plain(grad), _plain(weight), value=-1.0)


class FisherSums:
    """Gathers squared gradients over batches: the diagonal of the empirical Fisher information, up to a factor.

    Squares of single examples' gradients are what the name means; those of batches are what is cheap.

    Example:
        >>> sums = FisherSums()
        >>> sums.add("w", torch.tensor([1.0, -3.0]))
        >>> sums.sums["w"]
        tensor([1., 9.])
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    @property
    def sums(self) -> Mapping[str, Tensor]:
        """What was gathered, by the weight's name."""
        return self._sums

    def add(self, name: str, grad: Tensor) -> None:
        """Add what one batch gave.

        Args:
            name: The weight's name.
            grad: Its gradient.

        Raises:
            GraftError: The shape is not that of earlier batches.
        """
        grad = _plain(grad)
        _start(self._sums, name, grad).addcmul_(grad, grad)


class InputNorms:
    """Gathers the length of each input of linear layers over all tokens (Sun et al. 2024).

    Example:
        >>> inputs = InputNorms()
        >>> inputs.add("w", torch.tensor([[3.0, 0.0], [4.0, 1.0]]))
        >>> inputs.norms["w"]
        tensor([5., 1.])
    """

    def __init__(self) -> None:
        self._squares: dict[str, Tensor] = {}

    @property
    def norms(self) -> Mapping[str, Tensor]:
        """The lengths [D_in], by the weight's name."""
        return {name: squares.sqrt().float() for name, squares in self._squares.items()}

    def add(self, name: str, x: Tensor) -> None:
        """Add the inputs of some tokens.

        Args:
            name: The name of the weight that is multiplied with them.
            x: The inputs [N, D_in].

        Raises:
            GraftError: The inputs are no rows of one length.
        """
        if x.ndim != 2:
            raise GraftError(
                f"The inputs of '{name}' have the shape {tuple(x.shape)}. A row for each token [N, D_in] was expected. "
                "Flatten the other axes, for example by `x.reshape(-1, x.shape[-1])`."
            )
        squares = _plain(x).square().sum(dim=0, dtype=torch.float64)
        if name not in self._squares:
            self._squares[name] = torch.zeros_like(squares)
        _check_shape(name, "sum of squared inputs", expected=self._squares[name], found=squares)
        self._squares[name] += squares


def _start(sums: dict[str, Tensor], name: str, like: Tensor) -> Tensor:
    """The sum of a weight, zeros in float32 at first."""
    if name not in sums:
        sums[name] = torch.zeros_like(like, dtype=torch.float32, requires_grad=False)
    _check_shape(name, "gradient", expected=sums[name], found=like)
    return sums[name]


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float32)


def _check_shape(name: str, kind: str, *, expected: Tensor, found: Tensor) -> None:
    if found.shape != expected.shape:
        raise GraftError(
            f"The {kind} of '{name}' has the shape {tuple(found.shape)}. {tuple(expected.shape)} was expected, as "
            "before. Add what belongs to one weight under one name."
        )
