"""The traditional ways: every weight is trained, for one task, or on one task after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from polygraft.attach.sparse import find_edit
from polygraft.parts.delta import Delta, DeltaLayers
from polygraft.recipe.bench import Bench, Phase, count_weights
from polygraft.recipe.methods import describe_method
from polygraft.recipe.outcome import Outcome, make_outcome

if TYPE_CHECKING:
    from polygraft.recipe.methods import Full
    from polygraft.train.step import Step


def run_full(bench: Bench, method: Full) -> Iterator[Step | Phase | Outcome]:
    """Train every weight of the base, as a difference from it that has a value at every place.

    The weights that are computed with are the base's plus the difference, so that without weight decay each update is
    that of the weights themselves. The base stays what it is.

    Args:
        bench: The data, and where the weights begin if not with the base's.
        method: Which weights.
    """
    shapes = bench.find_shapes(method)
    graft = bench.make_graft(Delta(weights=method.weights, skip_layers=bench.skip_layers))
    begins = "from the base's"
    if bench.start is not None:
        begins = f"from those of '{bench.start.name}'"
        with torch.no_grad():
            values = find_edit(bench.start, DeltaLayers).values
            find_edit(graft, DeltaLayers).values.copy_(values)
    yield Phase(
        title=f"Training all {count_weights(shapes):,} weights, {begins} ...",
        name=f"{bench.name}, all weights",
    )
    described = describe_method(method)
    training = yield from bench.train(graft, phase="whole", facts=[described])
    yield make_outcome(
        bench,
        graft,
        training,
        dtype=method.dtype,
        is_scored=True,
        facts=described,
        digest=bench.digest(described),
    )
