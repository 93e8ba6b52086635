"""Pruning of whole attention heads and feed-forward neurons."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from polygraft.attach.graft import measure_base
from polygraft.attach.sparse import find_edit, read_values
from polygraft.base.units import expand_units, list_units, sum_unit_scores
from polygraft.errors import OptionError
from polygraft.parts.mask import MaskLayers
from polygraft.prune.mask import measure_density
from polygraft.prune.scope import check_selection, parse_scope
from polygraft.prune.select import select
from polygraft.recipe.bench import Bench, Phase, count_weights, make_dense, make_pruned
from polygraft.recipe.criteria import make_score
from polygraft.recipe.methods import describe_method
from polygraft.recipe.outcome import Outcome, make_outcome

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.base.base import Base
    from polygraft.base.units import Units
    from polygraft.recipe.methods import Structured
    from polygraft.train.step import Step


def run_structured(bench: Bench, method: Structured) -> Iterator[Step | Phase | Outcome]:
    """Train all weights, remove the units with the smallest ones, and train the others on.

    A unit's score is the sum of its weights' scores by the criterion. What is removed gives exactly nothing, so that
    `compact_base` can leave it out.

    Args:
        bench: The data and the grafts below.
        method: What is removed, and how much of it.

    Raises:
        OptionError: The units' weights are not all among those that are trained, or none would be left.
    """
    described, method = describe_method(method), leave_out_biases(bench.base, method)
    shapes = bench.find_shapes(method)
    prunable = find_prunable_units(bench.base, method, shapes, skip_layers=bench.skip_layers)
    by_layer = {f"layer {units.layer}": units for units in prunable}
    counts = {name: (units.num_units,) for name, units in by_layer.items()}
    scope = parse_scope(method.scope)
    check_selection(counts, scope=scope, sparsity=method.sparsity)
    dense = make_dense(bench, method)
    start = read_values(find_edit(dense, MaskLayers))
    yield Phase(title=f"Training all {count_weights(shapes):,} weights ...", name=f"{bench.name}, dense")
    yield from bench.train(dense, phase="dense", facts=[method.kind, method.weights])
    values = read_values(find_edit(dense, MaskLayers))
    weight_score = make_score(
        bench, dense, criterion=method.criterion, num_batches=method.num_batches, start=start
    )

    def score(name: str) -> Tensor:
        return sum_unit_scores(by_layer[name], scores=weight_score)

    kept_units = select(counts, score, scope=scope, sparsity=method.sparsity)
    kept = {name: torch.ones(shape, dtype=torch.bool) for name, shape in shapes.items()}
    for name, units in by_layer.items():
        for weight, mask in expand_units(units, kept=kept_units[name]).items():
            kept[weight] &= mask
    pruned = make_pruned(bench, method, kept, values, head=dense.tensors())
    when_cut = bench.score(pruned)
    left = {name: int(mask.sum()) for name, mask in kept_units.items()}
    yield Phase(
        title=f"Training on with {sum(left.values()):,} of {count_weights(counts):,} {method.units} ...",
        name=f"{bench.name}, pruned",
    )
    training = yield from bench.train(pruned, phase="pruned", facts=[described])
    yield make_outcome(
        bench,
        pruned,
        training,
        dtype=method.dtype,
        is_scored=True,
        digest=bench.digest(described),
        facts={
            **described,
            "sparsity": 1 - measure_density(kept),
            "units_kept": list(left.values()),
            **({} if when_cut is None else {"when_cut": bench.orient(when_cut)}),
        },
    )


def leave_out_biases(base: Base, method: Structured) -> Structured:
    """Fit a method to a base: where linear layers have no biases, none can stay behind."""
    roles = {weight.role for weight in measure_base(base).weights}
    weights = tuple(name for name in method.weights if name != "bias" or name in roles)
    return replace(method, weights=weights or method.weights)


def find_prunable_units(
    base: Base, method: Structured, shapes: Mapping[str, tuple[int, ...]], *, skip_layers: Collection[int]
) -> list[Units]:
    """List the units of all layers that are not left out.

    Args:
        base: The base.
        method: Which kind of units.
        shapes: Shapes of the weights that are trained.
        skip_layers: Layers left out; negative ones count from the end.

    Raises:
        OptionError: Weights of some are not among those that are trained.
    """
    num_layers = base.sites.num_layers
    skipped = {layer % num_layers for layer in skip_layers}
    found = [units for units in list_units(base, kind=method.units) if units.layer not in skipped]
    missing = [part.name for units in found for part in units.slices if part.name not in shapes]
    if missing:
        raise OptionError(
            f"The {method.units} of layer {found[0].layer} and others were to be removed, and {len(missing)} of their "
            f"weights are not among those that are trained ({', '.join(method.weights)}), such as '{missing[0]}'. "
            "Expected linear and bias. Add them."
        )
    return found
