"""Which batches each update of a training is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from polygraft.data.chance import make_listed_generator

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from polygraft.attach.plan import Plan
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


def note_long_rows(objective: Objective, settings: TrainSettings, *, notify: Callable[[str], None]) -> None:
    """Say that rows are longer than a batch is to be, where some are: once for all trainings of an objective.

    Args:
        objective: The data.
        settings: How large a batch is to be.
        notify: Told the sentence.
    """
    lengths, most = objective.lengths(), settings.batch_tokens
    longer = lengths[lengths > most]
    if objective.has_told_long_rows or not len(longer):
        return
    objective.has_told_long_rows = True
    notify(
        f"{len(longer):,} of {len(lengths):,} rows have more than {most:,} tokens, the most that a batch is to have "
        f"(batch_tokens), and up to {int(longer.max()):,}. Each of them is a batch alone, which takes the memory of "
        "its length. Give shorter rows where that is too much, or a larger batch_tokens where it is not."
    )


def choose_plan(plans: Sequence[Plan], *, seed: int, number: int) -> Plan:
    """Give the plan of an update, by chance where there are several.

    Args:
        plans: Those that may be in force.
        seed: Where chance comes from.
        number: The update's, counted from 0.
    """
    if len(plans) == 1:
        return plans[0]
    return plans[int(make_listed_generator(seed, number, 1).integers(len(plans)))]
