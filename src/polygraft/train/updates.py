"""Which batches each update of a training is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from polygraft.train.objective import Objective
    from polygraft.train.settings import TrainSettings


def plan_updates(
    objective: Objective, settings: TrainSettings, *, num_processes: int
) -> list[list[NDArray[np.int64]]]:
    """List the batches of each update: `accumulate` for each process that shares them.

    Args:
        objective: The data.
        settings: How many updates or passes over the data, and of which batches.
        num_processes: How many processes share each update.
    """
    batches, epoch = list[Any](), 0
    each = settings.accumulate * num_processes
    while (
        epoch < settings.epochs
        if settings.epochs is not None
        else len(batches) < each * (settings.steps or 0)
    ):
        batches += objective.plan_epoch(batch_tokens=settings.batch_tokens, seed=settings.seed, epoch=epoch)
        epoch += 1
    return [batches[start : start + each] for start in range(0, len(batches), each)][: settings.steps]
