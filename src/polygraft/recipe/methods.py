"""The methods that change or prune the base's weights, as their settings."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from polygraft.errors import OptionError, RecipeError, nearest
from polygraft.prune.scope import parse_scope
from polygraft.recipe.tables import read_table

if TYPE_CHECKING:
    from polygraft.store.fields import JsonValue

REWINDS = ("none", "start")
LEVELS = "levels"
"""What a manifest calls the levels that led to a graft."""
UNITS = ("neurons", "heads")
CRITERIA = ("magnitude", "change", "movement", "fisher", "wanda", "random")
CHOICES = ("change", "fisher", "random")
RETRAINS = ("between", "after", "never")


@dataclass(frozen=True, kw_only=True)
class Method:
    """What all methods have in common."""

    kind: ClassVar[str]

    weights: tuple[str, ...] = ("linear",)
    """Which weights: roles (linear, bias, norm, embedding) or patterns of names."""
    dtype: Literal["float32", "float16"] = "float32"
    """Number format of the values that are stored."""


@dataclass(frozen=True, kw_only=True)
class Full(Method):
    """Every weight is trained: the traditional way, one full copy a task."""

    kind: ClassVar[str] = "full"

    weights: tuple[str, ...] = ("linear", "bias", "norm", "embedding")


@dataclass(frozen=True, kw_only=True)
class Sequential(Full):
    """Every weight is trained on one task after the other, each from where the one before ended."""

    kind: ClassVar[str] = "sequential"


@dataclass(frozen=True, kw_only=True)
class Imp(Method):
    """Iterative magnitude pruning: train, remove the smallest weights, train on, until few enough are left.

    Han et al. 2015 (retraining after each removal); Frankle & Carbin 2019, Frankle et al. 2020 (rewinding).
    """

    kind: ClassVar[str] = "imp"

    sparsities: tuple[float, ...] = (0.5, 0.8, 0.9)
    """Share of the weights that is pruned, level after level."""
    criterion: str = "magnitude"
    """By which score weights are kept: magnitude, change, movement, fisher, wanda or random."""
    num_batches: int = 32
    """Batches that are gone through for criteria that look at gradients or inputs."""
    scope: str = "global"
    """Among which weights the smallest are looked for: global, tensor, row, or N:M such as 2:4."""
    rewind: str = "none"
    """Where the survivors go on from after each removal: from where they are (`none`), from the base's values
    (`start`), or from what they were after a number of steps of the dense training."""
    retrain: Literal["between", "after", "never"] = "between"
    """When survivors are trained on: after each removal, from which the next one goes on (`between`); each level cut
    from the dense training and trained on by itself (`after`: one-shot pruning); or not at all (`never`)."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        scope = parse_scope(self.scope)
        check_sparsities(self.sparsities)
        check_scoring(self.criterion, num_batches=self.num_batches)
        if self.retrain not in RETRAINS:
            raise OptionError(
                f"Pruning was to retrain '{self.retrain}'. Expected {', '.join(RETRAINS)}."
                f"{nearest(self.retrain, RETRAINS)} Correct the word."
            )
        if scope.kind == "n:m" and len(self.sparsities) > 1:
            raise OptionError(
                f"The scope {self.scope} prunes one share, and {len(self.sparsities)} levels were asked for. Expected "
                "one level. Leave the others out."
            )
        if self.rewind not in REWINDS and not self.rewind.isdecimal():
            raise OptionError(
                f"Pruning was to rewind to '{self.rewind}'. Expected {', '.join(REWINDS)}, or a number of steps."
                f"{nearest(self.rewind, REWINDS)} Correct it."
            )


@dataclass(frozen=True, kw_only=True)
class LtSft(Method):
    """Lottery-ticket sparse fine-tuning: train densely, keep the places that changed most, train these from the start.

    Ansell et al. 2022.
    """

    kind: ClassVar[str] = "lt-sft"

    density: float = 0.05
    """Share of the weights that may change in the end."""
    scope: str = "global"
    """Among which weights the largest changes are looked for."""
    l1: float = 0.0
    """Weight of the mean absolute difference from the base, added to the loss of both phases."""
    choice: Literal["change", "fisher", "random"] = "change"
    """What is kept: the places that changed most; those to which the loss is most sensitive before anything is trained
    (FISH: Sung et al. 2021); or some by chance (the control)."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        parse_scope(self.scope)
        if not 0 < self.density <= 1:
            raise OptionError(
                f"Sparse fine-tuning has density={self.density:g}. Expected a share above 0 and at most 1 of the "
                "weights, such as 0.05. Correct the number."
            )
        if self.l1 < 0:
            raise OptionError(
                f"Sparse fine-tuning has l1={self.l1:g}. Expected 0 or more. Correct the number."
            )
        if self.choice not in CHOICES:
            raise OptionError(
                f"Sparse fine-tuning was to keep places by '{self.choice}'. Expected {', '.join(CHOICES)}."
                f"{nearest(self.choice, CHOICES)} Correct the word."
            )


@dataclass(frozen=True, kw_only=True)
class Piggyback(Method):
    """A learned binary mask over the frozen weights: Mallya et al. 2018."""

    kind: ClassVar[str] = "piggyback"

    init: float = 0.01
    """Scores at the start."""
    threshold: float = 0.005
    """Weights whose score is not above it are masked."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.dtype != "float32":
            raise OptionError(
                f"A learned mask was to store its values in {self.dtype}, and it has none: one bit a weight. Expected "
                "no number format. Leave --values out."
            )
        if self.init <= self.threshold:
            raise OptionError(
                f"A learned mask begins with the scores {self.init:g} and the threshold {self.threshold:g}, so that "
                "nothing would be left. Expected scores above the threshold. Raise the first, or lower the second."
            )


@dataclass(frozen=True, kw_only=True)
class PackNet(Method):
    """Another task in the weights that the tasks below left free: Mallya & Lazebnik 2018."""

    kind: ClassVar[str] = "packnet"

    sparsity: float = 0.5
    """Share of the free weights that stays free for later tasks."""
    scope: str = "tensor"
    """Among which weights the smallest are looked for: in the paper, within each layer."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        parse_scope(self.scope)
        check_sparsities((self.sparsity,))


@dataclass(frozen=True, kw_only=True)
class Movement(Method):
    """Movement pruning: weights and their scores are trained together, ever fewer survive (Sanh et al. 2020)."""

    kind: ClassVar[str] = "movement"

    sparsity: float = 0.9
    """Share of the weights that is pruned in the end."""
    score_lr_factor: float = 30.0
    """What the learning rate of the scores is multiplied by."""
    penalty: float = 0.0
    """Weight of the mean sigmoid of the scores, added to the loss (the soft form)."""
    start_share: float = 0.1
    """Share of the steps before anything is pruned."""
    end_share: float = 0.7
    """Share of the steps after which the sparsity stays."""
    every: int = 10
    """Steps between two choices of the survivors."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        check_sparsities((self.sparsity,))
        is_fine = self.score_lr_factor > 0 and self.penalty >= 0 and self.every >= 1
        if not (is_fine and 0 <= self.start_share < self.end_share <= 1):
            raise OptionError(
                f"Movement pruning has score_lr_factor={self.score_lr_factor:g}, penalty={self.penalty:g}, "
                f"every={self.every}, and prunes from {self.start_share:g} to {self.end_share:g} of the steps. "
                "Expected a factor above 0, a penalty of 0 or more, 1 or more steps, and two shares from 0 to 1, the "
                "first the smaller one. Correct the number."
            )


def read_levels(facts: Mapping[str, JsonValue]) -> tuple[dict[str, float], ...]:
    """Give the levels of pruning that a manifest tells of, the densest first; none where it tells of none.

    Args:
        facts: The manifest's hyperparameters.
    """
    levels = facts.get(LEVELS)
    if not isinstance(levels, list):
        return ()
    return tuple(
        {key: float(value) for key, value in level.items() if isinstance(value, int | float)}
        for level in levels
        if isinstance(level, Mapping) and "sparsity" in level
    )


@dataclass(frozen=True, kw_only=True)
class Structured(Method):
    """Attention heads or feed-forward neurons as a whole: McCarley 2019; Michel et al. 2019; Li et al. 2017."""

    kind: ClassVar[str] = "structured"

    weights: tuple[str, ...] = ("linear", "bias")
    """Which weights are trained; a unit that is removed takes its biases with it."""
    units: Literal["neurons", "heads"] = "neurons"
    """What is removed."""
    sparsity: float = 0.5
    """Share of the units that is removed."""
    criterion: str = "magnitude"
    """By which score of their weights, summed, units are kept: magnitude, change, movement, fisher or random."""
    num_batches: int = 32
    """Batches that are gone through for criteria that look at gradients."""
    scope: str = "tensor"
    """`tensor` removes equally many in each layer, which makes the smallest base; `global` the lowest scores of all."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        check_sparsities((self.sparsity,))
        check_scoring(self.criterion, num_batches=self.num_batches)
        if self.criterion == "wanda":
            raise OptionError(
                "Units were to be kept by the criterion 'wanda', which says nothing about the biases of a unit. "
                "Expected magnitude, change, movement, fisher or random. Choose one of these."
            )
        if self.units not in UNITS:
            raise OptionError(
                f"Units of the kind '{self.units}' were to be removed. Expected {' or '.join(UNITS)}."
                f"{nearest(self.units, UNITS)} Correct the word."
            )
        if self.scope not in ("tensor", "global"):
            raise OptionError(
                f"Units were to be chosen in the scope '{self.scope}'. Expected tensor, for equally many in each "
                "layer, or global. Correct the word."
            )


def describe_method(method: Method) -> dict[str, JsonValue]:
    """Give a method and its settings, as a manifest tells them."""
    settings = {
        name: list(value) if isinstance(value, tuple) else value for name, value in vars(method).items()
    }
    return {"method": method.kind, **{f"method_{name}": value for name, value in settings.items()}}


METHODS: dict[str, type[Method]] = {
    method.kind: method for method in (Imp, LtSft, Piggyback, PackNet, Movement, Structured)
}
"""The methods that make grafts, by name."""
COPIES: dict[str, type[Method]] = {method.kind: method for method in (Full, Sequential)}
"""The traditional methods, by name; what they make is a copy of the base."""
IN_ORDER = (PackNet.kind, Sequential.kind)
"""Methods whose tasks build on those before, in the order of the recipe."""


BOTTLENECK = "bottleneck"
"""What a recipe calls the grafts that change no weight."""


def read_method(kind: str, settings: Mapping[str, Any], *, where: str, can_pack: bool) -> Method | None:
    """Make the method that a table of a recipe asks for; None for bottlenecks.

    Args:
        kind: The method's name.
        settings: Its settings, as the file has them.
        where: Name of the table, for messages.
        can_pack: Whether its grafts may stand one over the other, as those of `packnet` do.

    Raises:
        RecipeError: There is no such method in a recipe, or it has no such setting.
    """
    known = [BOTTLENECK, *(name for name in METHODS if can_pack or name != PackNet.kind)]
    if kind == PackNet.kind and not can_pack:
        raise RecipeError(
            f"The recipe has {where}.method = '{kind}', which packs tasks one over the other, and the grafts of "
            f"[{where}] are swapped for each other. Expected one of {', '.join(known)}. Choose one of these, or give "
            f"'{kind}' to [train.task]."
        )
    is_copy = can_pack and kind in COPIES
    if kind not in known and not is_copy:
        raise RecipeError(
            f"The recipe has {where}.method = '{kind}'. Expected one of {', '.join(known)}.{nearest(kind, known)} "
            "Correct the name."
        )
    if kind == BOTTLENECK:
        if settings:
            raise RecipeError(
                f"The recipe has [{where}.pruning] with {', '.join(settings)}, and the method 'bottleneck', which "
                f"prunes nothing. Expected another {where}.method, such as 'lt-sft'. Name one, or leave the table out."
            )
        return None
    try:
        return read_table((COPIES if is_copy else METHODS)[kind], settings, where=f"{where}.pruning")
    except OptionError as error:
        error.add_note(f"([{where}.pruning])")
        raise


def check_scoring(criterion: str, *, num_batches: int) -> None:
    """Refuse a criterion that is not known, and scores of nothing.

    Raises:
        OptionError: There is no such criterion, or it is to look at no batch.
    """
    if criterion not in CRITERIA:
        raise OptionError(
            f"Weights were to be kept by the criterion '{criterion}'. Expected one of {', '.join(CRITERIA)}."
            f"{nearest(criterion, CRITERIA)} Correct the name."
        )
    if num_batches < 1:
        raise OptionError(
            f"Scores were to be gathered over {num_batches} batches. Expected 1 or more. Give a larger number."
        )


def check_sparsities(sparsities: tuple[float, ...]) -> None:
    """Refuse shares that cannot be pruned one after the other.

    Raises:
        OptionError: One is not a share, or they do not rise.
    """
    is_rising = all(low < high for low, high in itertools.pairwise(sparsities))
    if not sparsities or not is_rising or not all(0 <= sparsity < 1 for sparsity in sparsities):
        listed = ", ".join(f"{sparsity:g}" for sparsity in sparsities) or "none"
        raise OptionError(
            f"The sparsities are {listed}. Expected shares of the weights from 0 up to (but not) 1, each larger than "
            "the one before, such as 0.5, 0.8, 0.9. Correct them."
        )
