"""Movement pruning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch

from polygraft.attach.sparse import find_edit, make_delta, make_mask, read_values
from polygraft.parts.delta import Delta, DeltaLayers
from polygraft.parts.mask import MaskLayers
from polygraft.parts.scores import Scores, ScoresLayers
from polygraft.prune.mask import count_places, measure_density
from polygraft.prune.schedule import cubic_at
from polygraft.prune.scope import check_selection, parse_scope
from polygraft.prune.select import select_global
from polygraft.prune.share import count_left
from polygraft.recipe.bench import Bench, Phase, copy_head, count_weights
from polygraft.recipe.methods import describe_method
from polygraft.recipe.outcome import Outcome, make_outcome

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.attach.graft import Graft
    from polygraft.recipe.methods import Movement
    from polygraft.train.step import Step

LOWEST = float("-inf")
"""A threshold that no score is below."""


def run_movement(bench: Bench, method: Movement) -> Iterator[Step | Phase | Outcome]:
    """Train weights and scores together, while the share of the weights that survive falls along a cubic curve.

    A weight's score sums how far its updates moved it away from zero; the gradient passes through the choice of the
    survivors as if it were not there. What is stored are the survivors and their values.

    Args:
        bench: The data and the grafts below.
        method: The sparsity, and when it is reached.

    Raises:
        OptionError: The sparsity leaves nothing.
    """
    shapes = bench.find_shapes(method)
    total = count_weights(shapes)
    check_selection(shapes, scope=parse_scope("global"), sparsity=method.sparsity)
    graft = bench.make_graft(
        Delta(weights=method.weights, skip_layers=bench.skip_layers),
        Scores(weights=method.weights, skip_layers=bench.skip_layers, init=0.0, threshold=LOWEST),
    )
    scores, deltas = find_edit(graft, ScoresLayers), find_edit(graft, DeltaLayers)
    num_steps = bench.count_steps()

    def choose(number: int) -> None:
        if number % method.every:
            return
        sparsity = cubic_at(
            number,
            num_steps,
            final=method.sparsity,
            start_share=method.start_share,
            end_share=method.end_share,
        )
        num_pruned = total - count_left(sparsity, total=total)
        if num_pruned:
            threshold = torch.kthvalue(scores.values.detach(), num_pruned).values
            scores.get_buffer("threshold").copy_(threshold)

    yield Phase(title=f"Training {total:,} weights and their scores ...", name=bench.name)
    described = describe_method(method)
    # Early values, with more survivors, would score best.
    training = yield from bench.train(
        graft,
        phase="movement",
        facts=[described],
        chooses=False,
        penalty=_pull_down(scores, method.penalty),
        prepare=choose,
        lr_factors={Scores.kind: method.score_lr_factor},
    )
    found = {info.name: scores.read(info.name).view(info.shape) for info in scores.infos}
    kept = select_global(shapes, found.__getitem__, num_kept=count_left(method.sparsity, total=total))
    pruned = _keep(bench, method, kept, read_values(deltas))
    copy_head(graft.tensors(), pruned)
    yield make_outcome(
        bench,
        pruned,
        training,
        dtype=method.dtype,
        is_scored=False,
        digest=bench.digest(described),
        facts={**described, "sparsity": 1 - measure_density(kept), "weights_kept": count_places(kept)},
    )


def _keep(
    bench: Bench, method: Movement, kept: Mapping[str, Tensor], differences: Mapping[str, Tensor]
) -> Graft:
    """Make a graft of the survivors' differences with a mask above: what is below stays in force, as in training."""
    masked = make_mask(bench.base, bench.name, kept, weights=method.weights, skip_layers=bench.skip_layers)
    graft = make_delta(
        bench.base,
        bench.name,
        kept,
        weights=method.weights,
        skip_layers=bench.skip_layers,
        values=differences,
        others=[*masked.parts, *bench.further_parts],
    )
    own, stored = (find_edit(each, MaskLayers).kept for each in (graft, masked))
    assert own is not None and stored is not None
    own.get_buffer("code").copy_(stored.get_buffer("code"))
    return graft


def _pull_down(scores: ScoresLayers, weight: float) -> Callable[[], Tensor] | None:
    """Make the mean sigmoid of the scores, times a weight (Sanh et al. 2020, section 4)."""
    if not weight:
        return None
    return lambda: scores.values.sigmoid().mean() * weight
