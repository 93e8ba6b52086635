"""Scores of the weights of a graft in training, by a criterion."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from polygraft.attach.attach import attach
from polygraft.attach.graft import measure_base
from polygraft.attach.inputs import watch_inputs
from polygraft.attach.sparse import find_edit, read_gradients, read_values
from polygraft.errors import OptionError
from polygraft.parts.mask import MaskLayers
from polygraft.prune.accumulate import FisherSums, InputNorms, MovementSums
from polygraft.prune.scores import change, find_criterion, fisher, magnitude, movement, random, wanda

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.attach.attach import Attachment
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base
    from polygraft.parts.delta import DeltaLayers
    from polygraft.prune.keys import Score
    from polygraft.recipe.bench import Bench
    from polygraft.train.objective import Loss


def check_criterion(base: Base, name: str, *, weights: Collection[str]) -> None:
    """Refuse a criterion that says nothing about some of the weights.

    Args:
        base: The base.
        name: The criterion's.
        weights: The names of the weights that it is to score.

    Raises:
        OptionError: There is none of that name, or it is about linear layers and a weight is the matrix of none.
    """
    needs = find_criterion(name).needs
    roles = {weight.name: weight.role for weight in measure_base(base).weights}
    others = [weight for weight in weights if roles[weight] != "linear"]
    if "activations" in needs and others:
        raise OptionError(
            f"The criterion '{name}' scores a weight by what enters its linear layer, and '{others[0]}' is of none "
            f"({len(others)} such). Expected the weights linear alone. Leave the others out, or take magnitude."
        )


def make_score(
    bench: Bench, graft: Graft, *, criterion: str, num_batches: int, start: Mapping[str, Tensor]
) -> Score:
    """Make the scores by which the survivors of a graft are chosen.

    Args:
        bench: The data and the grafts below.
        graft: A graft of a mask in which values are trained.
        criterion: Its name.
        num_batches: How many batches are gone through where gradients or inputs are needed.
        start: The weights before training.
    """
    layers = find_edit(graft, MaskLayers)
    values = read_values(layers)
    match criterion:
        case "magnitude":
            return magnitude(values)
        case "change":
            return change(values, start)
        case "random":
            shapes = {name: tuple(value.shape) for name, value in values.items()}
            return random(shapes, seed=bench.settings.seed)
        case "wanda":
            return wanda(values, _sum_inputs(bench, graft, values, num_batches=num_batches))
        case "fisher":
            return make_fisher_score(bench, graft, layers, num_batches=num_batches)
        case _:
            moves = MovementSums()
            for name, grad in _list_gradients(bench, graft, layers, num_batches=num_batches):
                moves.add(name, grad, values[name])
            return movement(moves.sums)


def make_fisher_score(
    bench: Bench, graft: Graft, layers: MaskLayers | DeltaLayers, *, num_batches: int
) -> Score:
    """Make scores of how sensitive the loss is to each weight that a graft changes.

    Args:
        bench: The data and the grafts below.
        graft: The graft as it is.
        layers: Its part that changes weights.
        num_batches: How many batches are gone through.
    """
    squares = FisherSums()
    for name, grad in _list_gradients(bench, graft, layers, num_batches=num_batches):
        squares.add(name, grad)
    return fisher(squares.sums)


def _list_gradients(
    bench: Bench, graft: Graft, layers: MaskLayers | DeltaLayers, *, num_batches: int
) -> Iterator[tuple[str, Tensor]]:
    """Give the gradient of the mean loss of each batch by each weight, dense, 0 where it is pruned."""
    graft.layers.requires_grad_(True)
    with _attach(bench, graft) as attachment:
        for loss in _list_losses(bench, attachment, num_batches=num_batches):
            graft.layers.zero_grad()
            loss.mean.backward()
            yield from read_gradients(layers).items()
    graft.layers.zero_grad()
    graft.layers.requires_grad_(False)


def _sum_inputs(
    bench: Bench, graft: Graft, names: Collection[str], *, num_batches: int
) -> Mapping[str, Tensor]:
    """Give the length of each input of each linear layer over all tokens."""
    norms = InputNorms()
    with _attach(bench, graft) as attachment, watch_inputs(attachment, names, norms.add):
        for _ in _list_losses(bench, attachment, num_batches=num_batches):
            pass
    return {name: norm.cpu() for name, norm in norms.norms.items()}


def _list_losses(bench: Bench, attachment: Attachment, *, num_batches: int) -> Iterator[Loss]:
    """Compute the loss of some batches; the same ones each time."""
    settings = bench.settings
    batches = bench.objective.plan_epoch(batch_tokens=settings.batch_tokens, seed=settings.seed, epoch=0)
    for step, rows in enumerate(batches[:num_batches]):
        yield bench.objective.compute_loss(attachment, rows, seed=settings.seed, step=step)


def _attach(bench: Bench, graft: Graft) -> Attachment:
    bench.objective.get_ready(bench.base)
    return attach(bench.base, bench.plans[0], grafts={**bench.below, bench.name: graft})
