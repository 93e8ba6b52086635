"""Lottery-ticket sparse fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from polygraft.attach.sparse import find_edit, make_delta, read_values
from polygraft.parts.delta import Delta, DeltaLayers
from polygraft.prune.mask import count_places
from polygraft.prune.scope import check_selection, parse_scope
from polygraft.prune.scores import magnitude, random
from polygraft.prune.select import select
from polygraft.prune.share import complement
from polygraft.recipe.bench import Bench, Phase, count_weights
from polygraft.recipe.criteria import make_fisher_score
from polygraft.recipe.methods import describe_method
from polygraft.recipe.outcome import Outcome, make_outcome

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.attach.graft import Graft
    from polygraft.recipe.methods import LtSft
    from polygraft.train.step import Step


NUM_BATCHES = 32
"""Batches over which squared gradients are summed."""
REASONS = {
    "change": "that changed most",
    "fisher": "that the loss is most sensitive to",
    "random": "that chance took",
}
"""Why places are kept, in a title."""


def run_lt_sft(bench: Bench, method: LtSft) -> Iterator[Step | Phase | Outcome]:
    """Train all weights, keep the places that changed most, and train these alone from the base's values.

    Args:
        bench: The data and the grafts below.
        method: How many places are kept.

    Raises:
        OptionError: So many places cannot be chosen.
    """
    scope, shapes, sparsity = parse_scope(method.scope), bench.find_shapes(method), complement(method.density)
    check_selection(shapes, scope=scope, sparsity=sparsity)
    if method.choice == "random":
        score = random(shapes, seed=bench.settings.seed)
    elif method.choice == "fisher":
        # A difference of zero: the weights are those that the grafts below left.
        fresh = bench.make_graft(Delta(weights=method.weights, skip_layers=bench.skip_layers))
        layers = find_edit(fresh, DeltaLayers)
        score = make_fisher_score(bench, fresh, layers, num_batches=NUM_BATCHES)
    else:
        dense = bench.make_graft(Delta(weights=method.weights, skip_layers=bench.skip_layers))
        title = f"Training all {count_weights(shapes):,} weights, to see which change most ..."
        yield Phase(title=title, name=f"{bench.name}, dense")
        # Values that were chosen on held-out data would be those of an early step for some seeds.
        facts = [method.kind, method.weights, method.l1]
        yield from bench.train(
            dense, phase="dense", facts=facts, chooses=False, penalty=_pull_to_base(dense, method.l1)
        )
        score = magnitude(read_values(find_edit(dense, DeltaLayers)))
    masks = select(shapes, score, scope=scope, sparsity=sparsity)
    graft = make_delta(
        bench.base,
        bench.name,
        masks,
        weights=method.weights,
        skip_layers=bench.skip_layers,
        others=bench.further_parts,
        seed=bench.settings.seed,
    )
    title = f"Training the {count_places(masks):,} weights {REASONS[method.choice]}, from the start ..."
    yield Phase(title=title, name=f"{bench.name}, sparse")
    described = describe_method(method)
    training = yield from bench.train(
        graft, phase="sparse", facts=[described], penalty=_pull_to_base(graft, method.l1)
    )
    yield make_outcome(
        bench,
        graft,
        training,
        dtype=method.dtype,
        is_scored=True,
        facts=described,
        digest=bench.digest(described),
    )


def _pull_to_base(graft: Graft, weight: float) -> Callable[[], Tensor] | None:
    """Make the mean absolute difference from the base, times a weight (Ansell et al. 2022, section 3.1)."""
    if not weight:
        return None
    layers = find_edit(graft, DeltaLayers)
    return lambda: layers.values.abs().mean() * weight
