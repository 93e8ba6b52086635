"""Where the numbers of a training can be looked at while it runs: TensorBoard, MLflow, W&B, trackio."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polygraft.errors import MissingExtraError, OptionError, TrainError, nearest

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

    from polygraft.train.step import Step

TRACKERS = ("tensorboard", "mlflow", "wandb", "trackio")
"""Names, which are those of their packages too."""
NUMBERS = (
    "loss",
    "lr",
    "num_tokens",
    "tokens",
    "tokens_per_second",
    "seconds",
    "peak_memory_bytes",
    "held_out",
)
"""What is logged of a step, where it is known."""


def check_trackers(names: Sequence[str]) -> None:
    """Refuse a tracker that is not known or not installed.

    Raises:
        OptionError: There is no such tracker.
        MissingExtraError: Its package is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise OptionError(
                f"'{name}' is not a tracker. Expected {', '.join(TRACKERS)}.{nearest(name, TRACKERS)} Correct the name."
            )
        if find_spec(name) is None:
            raise MissingExtraError(
                f"The tracker '{name}' needs the package {name}, which is not installed. Expected it beside "
                f"polygraft. Install it: pip install {name}"
            )


class Trackers:
    """Logs the steps of one training after the other to some trackers, each as a run of its own.

    Args:
        names: Which trackers.
        folder: Where those that write files write them.
        project: What the runs belong to.
        settings: What a tracker shows beside the numbers of every run; plain values.
    """

    def __init__(
        self, names: Sequence[str], *, folder: Path, project: str, settings: Mapping[str, Any]
    ) -> None:
        check_trackers(names)
        self.names = tuple(names)
        self.folder = folder
        self.project = project
        self.settings = settings
        self.run: str | None = None
        self._open: list[GeneralTracker] = []

    def log(self, step: Step, *, run: str) -> None:
        """Log a step.

        Args:
            step: What training told.
            run: The name of the training; another one than before ends the run and begins the next.

        Raises:
            TrainError: A tracker cannot be opened.
        """
        if run != self.run:
            self.finish()
            self._begin(run)
        found = {name: value for name in NUMBERS if (value := read_number(step, name)) is not None}
        for tracker in self._open:
            tracker.log(found, step=step.number)

    def finish(self) -> None:
        """End the run in progress, so that everything of it is written."""
        for tracker in self._open:
            tracker.finish()
        self._open, self.run = [], None

    def _begin(self, run: str) -> None:
        self.run = run
        for name in self.names:
            tracker = make_tracker(name, folder=self.folder, project=self.project, run=run)
            try:
                tracker.start()
                tracker.store_init_configuration({"run": run, **self.settings})
            except Exception as error:
                # What may go wrong differs from one package to the next: no account, no server, no database.
                raise TrainError(
                    f"The tracker '{name}' cannot be opened: {type(error).__name__}: {error} Expected it to be set up "
                    "as its own pages say. Set it up, or train without it."
                ) from error
            self._open.append(tracker)


def read_number(step: Step, name: str) -> float | None:
    """Give a number of a step by its name."""
    return step.tokens_per_second if name == "tokens_per_second" else vars(step)[name]


def make_tracker(name: str, *, folder: Path, project: str, run: str) -> GeneralTracker:
    """Make accelerate's tracker of a name."""
    # Loaded here: who tracks nothing need not wait for it.
    from accelerate import PartialState, tracking

    PartialState()
    match name:
        case "tensorboard":
            return tracking.TensorBoardTracker(run, folder / "tensorboard" / project)
        case "mlflow":
            return tracking.MLflowTracker(experiment_name=project, run_name=run)
        case "wandb":
            return tracking.WandBTracker(project, name=run, dir=str(folder))
        case _:
            return tracking.TrackioTracker(project, name=run)


@contextmanager
def open_trackers(
    names: Sequence[str], *, folder: Path, project: str, settings: Mapping[str, Any] | None = None
) -> Generator[Trackers]:
    """Log to some trackers inside the block, and end their runs with it.

    Args:
        names: Of `TRACKERS`; none logs nothing.
        folder: Where those that write files write them.
        project: What the runs belong to.
        settings: Plain values that a tracker shows beside the numbers.

    Raises:
        OptionError: There is no such tracker.
        MissingExtraError: Its package is not installed.

    Example:
        >>> with open_trackers(
        ...     ["tensorboard"], folder=Path("runs"), project="names"
        ... ) as trackers:  # doctest: +SKIP
        ...     for step in training.run():
        ...         trackers.log(step, run="ner")
    """
    trackers = Trackers(names, folder=folder, project=project, settings=settings or {})
    try:
        yield trackers
    finally:
        trackers.finish()
