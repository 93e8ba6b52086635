"""A learned binary mask over the frozen weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from polygraft.attach.sparse import find_edit, make_mask, read_places
from polygraft.parts.scores import Scores, ScoresLayers
from polygraft.prune.mask import measure_density
from polygraft.recipe.bench import Bench, Phase, copy_head, count_weights
from polygraft.recipe.methods import describe_method
from polygraft.recipe.outcome import Outcome, make_outcome

if TYPE_CHECKING:
    from polygraft.recipe.methods import Piggyback
    from polygraft.train.step import Step


def run_piggyback(bench: Bench, method: Piggyback) -> Iterator[Step | Phase | Outcome]:
    """Train a score for each weight, and keep which are above the threshold.

    Args:
        bench: The data and the grafts below.
        method: Scores at the start, and the threshold.
    """
    shapes = bench.find_shapes(method)
    scored = bench.make_graft(
        Scores(
            weights=method.weights,
            skip_layers=bench.skip_layers,
            init=method.init,
            threshold=method.threshold,
        )
    )
    yield Phase(title=f"Training scores for {count_weights(shapes):,} weights ...", name=bench.name)
    described = describe_method(method)
    training = yield from bench.train(scored, phase="scores", facts=[described])
    kept = read_places(find_edit(scored, ScoresLayers))
    graft = make_mask(
        bench.base,
        bench.name,
        kept,
        weights=method.weights,
        skip_layers=bench.skip_layers,
        others=bench.further_parts,
    )
    copy_head(scored.tensors(), graft)
    yield make_outcome(
        bench,
        graft,
        training,
        dtype="float32",
        is_scored=True,
        digest=bench.digest(described),
        facts={**described, "sparsity": 1 - measure_density(kept)},
    )
