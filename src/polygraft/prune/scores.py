"""Criteria: what makes a weight worth keeping. Each function makes a score from what it needs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from polygraft.errors import GraftError, OptionError, nearest
from polygraft.prune.keys import Score, Shapes

Need = Literal["weights", "start", "gradients", "activations"]
"""What a criterion looks at: the weights, the weights before training, gradients, or the layers' inputs."""


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One row of the table of criteria.

    Args:
        needs: What it looks at.
        meaning: What is kept, in one phrase.
    """

    needs: tuple[Need, ...]
    meaning: str


CRITERIA: Mapping[str, Criterion] = {
    "magnitude": Criterion(needs=("weights",), meaning="weights that are far from zero"),
    "change": Criterion(needs=("weights", "start"), meaning="weights that training moved far"),
    "movement": Criterion(
        needs=("weights", "gradients"), meaning="weights that training moves away from zero"
    ),
    "fisher": Criterion(needs=("gradients",), meaning="weights to which the loss is sensitive"),
    "wanda": Criterion(
        needs=("weights", "activations"), meaning="weights that are large where inputs are large"
    ),
    "random": Criterion(needs=(), meaning="weights chosen by chance, to compare with"),
}
"""What every criterion needs, by its name, which is that of its function."""


def find_criterion(name: str) -> Criterion:
    """Give a criterion by its name.

    Raises:
        OptionError: There is none of that name.

    Example:
        >>> find_criterion("change").needs
        ('weights', 'start')
    """
    if name not in CRITERIA:
        raise OptionError(
            f"The criterion '{name}' is not known. One of {', '.join(CRITERIA)} was expected."
            f"{nearest(name, CRITERIA)} Choose one of them."
        )
    return CRITERIA[name]


def magnitude(weights: Mapping[str, Tensor]) -> Score:
    """Score a weight by its size, |w| (Han et al. 2015).

    Args:
        weights: The weights.

    Example:
        >>> magnitude({"w": torch.tensor([-2.0, 1.0])})("w")
        tensor([2., 1.])
    """
    return lambda name: _take(weights, name, "weight").abs()


def change(weights: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> Score:
    """Score a weight by how far training moved it, |w - w0| (LT-SFT, Ansell et al. 2022).

    Args:
        weights: The weights after training.
        start: The weights before.

    Example:
        >>> change({"w": torch.tensor([2.0, 1.0])}, {"w": torch.tensor([2.0, 4.0])})("w")
        tensor([0., 3.])
    """

    def score(name: str) -> Tensor:
        after, before = _take(weights, name, "weight"), _take(start, name, "start")
        if after.shape != before.shape:
            raise GraftError(
                f"'{name}' has the shape {tuple(after.shape)}, and its start {tuple(before.shape)}. One shape was "
                "expected. Give the weights that the training began with."
            )
        # The difference of two numbers of 16 bits is not always one.
        dtype = torch.promote_types(torch.promote_types(after.dtype, before.dtype), torch.float32)
        return (after.to(dtype) - before.to(dtype)).abs_()

    return score


def movement(sums: Mapping[str, Tensor]) -> Score:
    """Score a weight by how much training moves it away from zero, the sum of -grad w (Sanh et al. 2020).

    Args:
        sums: What `MovementSums` gathered.
    """
    return lambda name: _take(sums, name, "sum of movements")


def fisher(sums: Mapping[str, Tensor]) -> Score:
    """Score a weight by the sum of its squared gradients, its diagonal Fisher information (FISH, Sung et al. 2021).

    Args:
        sums: What `FisherSums` gathered.
    """
    return lambda name: _take(sums, name, "sum of squared gradients")


def wanda(weights: Mapping[str, Tensor], norms: Mapping[str, Tensor]) -> Score:
    """Score a weight of a linear layer by its size times its input's, |W_ij| ||X_j|| (Wanda, Sun et al. 2024).

    Its paper compares these scores within a row only, so the scope `row` goes with it.

    Args:
        weights: Weights [D_out, D_in].
        norms: Length of each input over all tokens [D_in], as `InputNorms` gathers it, by the weight's name.

    Example:
        >>> wanda({"w": torch.tensor([[-2.0, 1.0]])}, {"w": torch.tensor([1.0, 5.0])})("w")
        tensor([[2., 5.]])
    """

    def score(name: str) -> Tensor:
        weight, norm = _take(weights, name, "weight"), _take(norms, name, "norm of inputs")
        if weight.ndim != 2 or norm.shape != weight.shape[1:]:
            raise GraftError(
                f"'{name}' has the shape {tuple(weight.shape)}, and its inputs' norms {tuple(norm.shape)}. A matrix "
                "and one norm for each of its columns were expected. Choose weights of linear layers only."
            )
        return weight.abs().to(torch.promote_types(weight.dtype, torch.float32)).mul_(norm)

    return score


def random(shapes: Shapes, *, seed: int) -> Score:
    """Score weights by chance, evenly between 0 and 1.

    The numbers depend on the seed and the tensor's name only: not on the other tensors, nor on what was asked before.

    Args:
        shapes: Shapes of the weights.
        seed: Chooses the numbers.

    Raises:
        OptionError: The seed is negative.

    Example:
        >>> score = random({"w": (2, 3)}, seed=1)
        >>> torch.equal(score("w"), score("w"))
        True
    """
    if seed < 0:
        raise OptionError(
            f"The seed is {seed}. A whole number of at least 0 was expected. Give such a number."
        )

    def score(name: str) -> Tensor:
        digest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
        generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, digest])))
        values = generator.random(math.prod(shapes[name]), dtype=np.float32)
        return torch.from_numpy(values).reshape(shapes[name])

    return score


def _take(tensors: Mapping[str, Tensor], name: str, kind: str) -> Tensor:
    if name not in tensors:
        raise GraftError(
            f"There is no {kind} of '{name}'. One for each tensor that is chosen from was expected, and there are "
            f"{len(tensors)}.{nearest(name, tensors)} Leave '{name}' out, or gather it too."
        )
    return tensors[name].detach()
