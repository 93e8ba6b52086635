"""Where the numbers of a training can be looked at while it runs: TensorBoard, MLflow, W&B, trackio.

Beside what they write stands a small file for each training, written anew at every update: what each tracker finds the
run under, and the last update that it was told. A training that was stopped or killed goes on there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from polygraft.errors import MissingExtraError, OptionError, TrainError, nearest
from polygraft.train.tracked import Told, read_told, write_told

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
FILES = "trackers"
"""The folder with a file for each training."""


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


@dataclass(kw_only=True)
class _Run:
    """A training's run at one tracker."""

    name: str
    """The tracker's."""
    tracker: GeneralTracker
    ident: str
    last: int


class Trackers:
    """Logs the steps of trainings to some trackers, each training as a run of its own.

    Args:
        names: Which trackers.
        folder: Where those that write files write them.
        project: What the runs belong to.
        settings: What a tracker shows beside the numbers of every run; plain values.
        notify: Told a sentence where a tracker that was opened before fails; it is left out from then on. None lets
            the error go on.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        folder: Path,
        project: str,
        settings: Mapping[str, Any],
        notify: Callable[[str], None] | None = None,
    ) -> None:
        check_trackers(names)
        self.names = tuple(names)
        self.folder = folder
        self.project = project
        self.settings = settings
        self.notify = notify
        self._are_together = False
        self._open: dict[str, list[_Run]] = {}
        self._begun: set[str] = set()
        """Trackers that could be opened."""
        self._lost: set[str] = set()
        """Those that failed later, and `FILES` where what they were told cannot be written down."""

    def log(self, step: Step, *, run: str) -> None:
        """Log a step, but to no tracker that was told it before the training was stopped.

        Args:
            step: What training told. Where the first one is not number 1, the training goes on in the runs that were
                begun for it with the same settings.
            run: The name of the training; another one than before ends the run and begins the next, but inside
                `log_together`.

        Raises:
            TrainError: A tracker cannot be opened at its first training, or at any where nobody is notified.
        """
        if not self.names:
            return
        if run not in self._open:
            if not self._are_together:
                self.finish()
            self._begin(run, step.number)
        found = {name: value for name in NUMBERS if (value := read_number(step, name)) is not None}
        for opened in self._open[run]:
            if step.number > opened.last and opened.name not in self._lost:
                self._log(opened, found, step.number)
        told = {opened.name: Told(opened.ident, opened.last) for opened in self._open[run]}
        path = self._find_file(run)
        try:
            write_told(path, told, settings=self.settings)
        except OSError as error:
            self._lose(
                FILES,
                error,
                f"What trackers were told cannot be written to {path}: {error.strerror or error}. Expected a folder "
                "with room. Training goes on; if it is stopped, they may be told some updates twice later on. Make "
                "room.",
            )

    def _log(self, opened: _Run, found: Mapping[str, Any], number: int) -> None:
        # MLflow logs to the run that was opened last, unless it is told which.
        options = {"run_id": opened.ident} if opened.name == "mlflow" else {}
        try:
            opened.tracker.log(dict(found), step=number, **options)
        except Exception as error:  # noqa: BLE001 - what may go wrong differs from one package to the next.
            self._lose(opened.name, error, _say_failed(opened.name, error))
        else:
            opened.last = number

    def _lose(self, what: str, error: Exception, sentence: str) -> None:
        """Go on without something, and tell it once; where nobody is notified the error goes on."""
        if self.notify is None:
            raise error
        if what not in self._lost:
            self._lost.add(what)
            self.notify(sentence)

    @contextmanager
    def log_together(self) -> Generator[None]:
        """Log trainings that go on side by side inside the block, each to a run of its own as it goes."""
        self.finish()
        self._are_together = True
        try:
            yield
        finally:
            self._are_together = False
            self.finish()

    def finish(self) -> None:
        """End the runs in progress, so that everything of them is written."""
        runs = [opened for together in self._open.values() for opened in together]
        self._open = {}
        for opened in runs:
            try:
                opened.tracker.finish()
            except Exception as error:  # noqa: BLE001 - see `_log`.
                self._lose(opened.name, error, _say_failed(opened.name, error))

    def _find_file(self, run: str) -> Path:
        return self.folder / FILES / self.project / f"{run}.json"

    def _begin(self, run: str, number: int) -> None:
        before = read_told(self._find_file(run), settings=self.settings) if number > 1 else {}
        self._open[run] = []
        for name in self.names:
            if name in self._lost:
                continue
            told = before.get(name)
            try:
                opened = self._start(name, run, told, number)
            except Exception as error:
                # What may go wrong differs from one package to the next: no account, no server, no database.
                if self.notify is not None and name in self._begun:
                    self._lose(name, error, _say_failed(name, error))
                    continue
                raise TrainError(
                    f"The tracker '{name}' cannot be opened: {type(error).__name__}: {error} Expected it to be set up "
                    "as its own pages say. Set it up, or train without it."
                ) from error
            self._begun.add(name)
            self._open[run].append(opened)

    def _start(self, name: str, run: str, told: Told | None, number: int) -> _Run:
        tracker = make_tracker(
            name,
            folder=self.folder,
            project=self.project,
            run=run,
            ident=None if told is None else told.ident,
            number=number if told is None else max(number, told.last + 1),
        )
        tracker.start()
        if told is None:
            show_settings(name, tracker, {"run": run, **self.settings})
            told = Told(read_ident(name, tracker), 0)
        return _Run(name=name, tracker=tracker, ident=told.ident, last=told.last)


def _say_failed(name: str, error: Exception) -> str:
    return (
        f"The tracker '{name}' failed: {type(error).__name__}: {error} Expected it to take every update. Training goes "
        "on without it; its own pages say what may be wrong."
    )


def read_number(step: Step, name: str) -> float | None:
    """Give a number of a step by its name."""
    return step.tokens_per_second if name == "tokens_per_second" else vars(step)[name]


def make_tracker(
    name: str, *, folder: Path, project: str, run: str, ident: str | None = None, number: int = 1
) -> GeneralTracker:
    """Make accelerate's tracker of a name.

    Args:
        name: Of `TRACKERS`.
        folder: Where those that write files write them.
        project: What the run belongs to.
        run: The name of the run.
        ident: What a run that goes on is found under; None begins one.
        number: The number of the first step that will be logged.
    """
    # Loaded here: who tracks nothing need not wait for it.
    from accelerate import PartialState, tracking

    PartialState()
    match name:
        case "tensorboard":
            # What was logged from this step on, before a stop, is not shown.
            return tracking.TensorBoardTracker(run, folder / "tensorboard" / project, purge_step=number)
        case "mlflow":
            # Nested, a run can be begun while another one is open.
            return tracking.MLflowTracker(
                experiment_name=project, run_name=run, run_id=ident, nested_run=True
            )
        case "wandb":
            # One that is open is neither ended nor taken for the new one.
            return tracking.WandBTracker(
                project, name=run, dir=str(folder), id=ident, resume="allow", reinit="create_new"
            )
        case _:
            resume = "never" if ident is None else "allow"
            return tracking.TrackioTracker(project, name=ident or run, resume=resume)


def show_settings(name: str, tracker: GeneralTracker, settings: Mapping[str, Any]) -> None:
    """Let a tracker show plain values beside the numbers of the run that it began."""
    if name == "wandb":
        # accelerate's way is for the one run of a process, and this one may be one of several.
        cast("Any", tracker).tracker.config.update(dict(settings), allow_val_change=True)
    else:
        tracker.store_init_configuration(dict(settings))


def read_ident(name: str, tracker: GeneralTracker) -> str:
    """Give what the run that a tracker began is found under."""
    # The library's own object is an attribute of each class, and not of their common one.
    known = cast("Any", tracker)
    match name:
        case "tensorboard":
            return "the same folder"
        case "mlflow":
            return known.tracker.info.run_id
        case "wandb":
            return known.tracker.id
        case _:
            return known.tracker.name


@contextmanager
def open_trackers(
    names: Sequence[str],
    *,
    folder: Path,
    project: str,
    settings: Mapping[str, Any] | None = None,
    notify: Callable[[str], None] | None = None,
) -> Generator[Trackers]:
    """Log to some trackers inside the block, and end their runs with it.

    Args:
        names: Of `TRACKERS`; none logs nothing.
        folder: Where those that write files write them.
        project: What the runs belong to.
        settings: Plain values that a tracker shows beside the numbers.
        notify: Told a sentence where a tracker that was opened before fails; it is left out from then on. None lets
            the error go on.

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
    trackers = Trackers(names, folder=folder, project=project, settings=settings or {}, notify=notify)
    try:
        yield trackers
    finally:
        trackers.finish()
