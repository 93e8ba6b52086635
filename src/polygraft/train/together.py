"""Several trainings in one pass, step by step in turn."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from polygraft.errors import TrainError
from polygraft.train.loop import Interrupted

if TYPE_CHECKING:
    from polygraft.train.loop import Training
    from polygraft.train.step import Step


def ignore(number: int) -> None:
    """Do nothing about a training that has ended."""


def run_together(
    trainings: Sequence[Training], *, finished: Callable[[int], None] = ignore
) -> Generator[tuple[int, Step]]:
    """Train several grafts side by side, one update of each in turn.

    Trainings that are given one and the same objective share what it looks up: with a `PrefixCache`, the frozen layers
    below their grafts run once for all of them. Each ends with the numbers that it has alone, to the bit.
    One that cannot go on is left out, and the others are trained to their end before its error is raised. Of several
    processes one may not know of another's error, so that there it ends all at once.

    Args:
        trainings: On one base.
        finished: Told the number of each training that has ended, while others may go on.

    Yields:
        The number of the training in `trainings`, and what it told.

    Raises:
        Interrupted: One of them was asked to stop; all that have checkpoints are saved.
        TrainError: One of them could not go on; with several such, their sentences one after the other.
    """
    running = {number: training.run() for number, training in enumerate(trainings)}
    failed: list[TrainError] = []
    with ExitStack() as stack:
        # What a training holds while it runs is let go of, also by those that are stopped with another.
        for each in running.values():
            stack.callback(each.close)
        yield from _take_turns(trainings, running, failed, finished=finished)
    if failed:
        raise failed[0] if len(failed) == 1 else TrainError(" ".join(str(error) for error in failed))


def _take_turns(
    trainings: Sequence[Training],
    running: dict[int, Generator[Step]],
    failed: list[TrainError],
    *,
    finished: Callable[[int], None],
) -> Generator[tuple[int, Step]]:
    while running:
        for number in list(running):
            try:
                step = next(running[number])
            except StopIteration:
                del running[number]
                finished(number)
            except Interrupted:
                for other in running:
                    if other != number:
                        trainings[other].save()
                raise
            except TrainError as error:
                del running[number]
                failed.append(error)
                _leave_out(trainings[number], error, are_more=bool(running))
            else:
                yield number, step


def _leave_out(training: Training, error: TrainError, *, are_more: bool) -> None:
    if training.processes.launch.count > 1:
        raise error
    if are_more:
        training.notify(f"{error} It is left out, and the others go on.")
