"""How the values of several grafts become those of one: the settings, and the formulas."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from polygraft.errors import OptionError, nearest
from polygraft.prune.select import select_global
from polygraft.prune.share import round_share

How = Literal["interpolate", "add", "subtract", "ties", "dare"]
HOWS: tuple[str, ...] = get_args(How)
DENSITY = 0.2
"""What TIES keeps of each graft where nothing is said, as in the paper."""
DROP = 0.5
"""The chance at which `dare` drops where nothing is said."""
TOLERANCE = 1e-4
"""By how much the weights of an interpolation may miss 1."""
MOST_SEED = 2**63


@dataclass(frozen=True, kw_only=True)
class Merging:
    """How several grafts become one.

    With v_i the values of graft i, s what a fresh graft has in their place, `d_i = v_i - s` and w_i its weight, the
    result is s plus

    - `interpolate`: `sum_i w_i d_i`, where the weights add up to 1;
    - `add`: `sum_i w_i d_i` with any weights (task arithmetic: Ilharco et al. 2023, section 2);
    - `subtract`: `w_1 d_1 - sum_{i>1} w_i d_i` (negation, in the same section);
    - `ties`: each d_i keeps only its largest values by magnitude; at each place the sign of `sum_i w_i d_i` is
      elected, and the mean is taken of those `w_i d_i` that have it (Yadav et al. 2023, section 4);
    - `dare`: each value of d_i is dropped with a chance p and what is left divided by 1 - p, and they are interpolated
      (Yu et al. 2024, section 3).

    Example:
        >>> Merging(how="interpolate", weights=(0.25, 0.75)).list_factors(2)
        [0.25, 0.75]
        >>> Merging(how="subtract", scale=0.5).list_factors(3)
        [0.5, -0.5, -0.5]
    """

    how: How = "interpolate"
    """By which formula."""
    weights: tuple[float, ...] | None = None
    """One for each graft; None is the same for all: 1 over their number, or 1 for `add`, `subtract` and `ties`."""
    density: float | None = None
    """For `ties`: the share of its values that each graft keeps, above 0 and at most 1; None is 0.2."""
    drop: float | None = None
    """The chance at which each value is dropped first, whatever the formula; None is 0.5 for `dare` and 0 else."""
    scale: float = 1.0
    """What the merged difference is multiplied by (lambda)."""
    seed: int = 0
    """Where the chances come from."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be meant."""
        if self.how not in HOWS:
            raise OptionError(
                f"Grafts cannot be merged by '{self.how}'. Expected one of {', '.join(HOWS)}."
                f"{nearest(self.how, HOWS)} Choose one."
            )
        wrong = [value for value in (*(self.weights or ()), self.scale) if not math.isfinite(value)]
        if wrong:
            raise OptionError(
                f"A weight or the scale of a merge is {wrong[0]}. Expected finite numbers. Correct it."
            )
        if self.density is not None and self.how != "ties":
            raise OptionError(
                f"A density of {self.density:g} was given for '{self.how}', which keeps all values. Expected it for "
                "'ties' only. Leave it out, or choose 'ties'."
            )
        if self.density is not None and not 0 < self.density <= 1:
            raise OptionError(
                f"A merge has the density {self.density:g}. Expected a share above 0 and at most 1 of its values that "
                "each graft keeps. Give one, for example 0.2."
            )
        if self.drop is not None and not 0 <= self.drop < 1:
            raise OptionError(
                f"A merge drops values with the chance {self.drop:g}. Expected a number from 0 up to but not including "
                "1. Give one, for example 0.5."
            )
        if not 0 <= self.seed < MOST_SEED:
            raise OptionError(
                f"A merge has the seed {self.seed}. Expected a whole number from 0 to 2**63 - 1. Give one, for "
                "example 0."
            )
        self._check_sum()

    def _check_sum(self) -> None:
        total = math.fsum(self.weights or ())
        if self.how in ("interpolate", "dare") and self.weights and abs(total - 1) > TOLERANCE:
            raise OptionError(
                f"The weights {_list(self.weights)} of '{self.how}' add up to {total:g}. Expected 1, so that the "
                "result lies between the grafts. Divide each by their sum, or choose 'add'."
            )

    @property
    def kept_share(self) -> float | None:
        """The share of its values that each graft keeps; None where nothing is trimmed."""
        if self.how != "ties":
            return None
        return DENSITY if self.density is None else self.density

    @property
    def drop_chance(self) -> float:
        """The chance at which a value is dropped."""
        if self.drop is None:
            return DROP if self.how == "dare" else 0.0
        return self.drop

    def list_weights(self, num_grafts: int) -> tuple[float, ...]:
        """List the weight of each graft.

        Args:
            num_grafts: How many grafts there are.

        Raises:
            OptionError: There are not so many weights.
        """
        weights = self.weights
        if weights is None:
            equal = 1 / num_grafts if self.how in ("interpolate", "dare") else 1.0
            weights = (equal,) * num_grafts
        if len(weights) != num_grafts:
            raise OptionError(
                f"A merge has {len(weights)} weights ({_list(weights) or 'none'}) for {num_grafts} grafts. Expected "
                "one for each graft, in the same order. Give as many, or leave them out for equal ones."
            )
        return weights

    def list_factors(self, num_grafts: int) -> list[float]:
        """List what each graft's difference is multiplied by: its weight with its sign and the scale.

        Args:
            num_grafts: How many grafts there are.

        Raises:
            OptionError: There are not so many weights.
        """
        weights = self.list_weights(num_grafts)
        signs = [-1.0 if self.how == "subtract" and index else 1.0 for index in range(num_grafts)]
        return [self.scale * sign * weight for sign, weight in zip(signs, weights, strict=True)]


def _list(weights: Sequence[float]) -> str:
    return ", ".join(f"{weight:g}" for weight in weights)


def combine(
    values: Tensor, factors: Tensor, *, elects: bool, start: Tensor | None = None, kept: Tensor | None = None
) -> Tensor:
    """Compute the merged values at U places, float64 [U].

    A graft with the factor 1 beside others with 0 is given back bit for bit: the result is
    `sum_i c_i v_i + (1 - sum_i c_i) s`, with c_i what is left of graft i's factor at a place.

    Args:
        values: Those of N grafts, float64 [N, U]; the start where a graft has none.
        factors: What each graft's difference is multiplied by, float64 [N].
        elects: Whether signs are elected and only those that agree are averaged (TIES).
        start: What a fresh graft has, float64 [U]; None is 0.
        kept: Which values take part, [N, U] of bool; None is all.

    Example:
        >>> values = torch.tensor([[2.0, 1.0], [-1.0, 3.0]], dtype=torch.float64)
        >>> combine(values, torch.ones(2, dtype=torch.float64), elects=True).tolist()
        [2.0, 2.0]
    """
    left = factors[:, None].expand_as(values)
    if kept is not None:
        left = left * kept
    if elects:
        weighted = left * (values if start is None else values - start)
        agrees = weighted.sign() == weighted.sum(0).sign()
        if kept is not None:
            agrees &= kept
        left = left * agrees / agrees.sum(0).clamp(min=1)
    total: Tensor | None = None
    for share, row in zip(left, values, strict=True):
        # With nothing added to it, not even the sign of a zero changes.
        if share.any():
            total = share * row if total is None else total + share * row
    if total is None:
        total = torch.zeros(values.shape[1], dtype=values.dtype)
    return total if start is None else total + (1 - left.sum(0)) * start


def choose_kept(
    differences: Mapping[str, Tensor], merging: Merging, *, generator: torch.Generator
) -> dict[str, Tensor] | None:
    """Choose which values of one graft take part: drop at random, then trim the smallest; None keeps all.

    Args:
        differences: The graft's differences, by the names of their tensors.
        merging: The chance to be dropped, and the share that is kept of all values together, also of those that were
            dropped; at least one is.
        generator: Where the chances come from.
    """
    if not differences or (not merging.drop_chance and merging.kept_share in (None, 1)):
        return None
    kept: dict[str, Tensor] | None = None
    if merging.drop_chance:
        kept = {
            name: torch.rand(each.shape, generator=generator) >= merging.drop_chance
            for name, each in differences.items()
        }
    if merging.kept_share not in (None, 1):
        total = sum(each.numel() for each in differences.values())
        left = total if kept is None else sum(int(each.sum()) for each in kept.values())
        kept = select_global(
            {name: tuple(each.shape) for name, each in differences.items()},
            lambda name: differences[name].abs(),
            num_kept=min(left, max(1, round_share(merging.kept_share, total=total))),
            within=kept,
        )
    return kept
