"""What a run tells about itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from polygraft.report.summary import RunSummary
from polygraft.train.step import Step

StepKind = Literal["mlm", "language", "losses", "task", "evaluate", "recheck"]


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """One step of a run."""

    name: str
    kind: StepKind
    description: str
    digest: str
    """Hash of everything that the step depends on."""
    is_done: bool
    """Whether a step of the same digest was done before."""
    seconds: float | None = None
    """Estimated time; None of what is done, and where nothing is known of this machine."""
    memory_bytes: int | None = None
    """The most memory that the process is likely to take, as the three below None of what is done."""
    above_bytes: int | None = None
    """How much of that comes on top of the loaded base."""
    kept_bytes: int | None = None
    """What stays on disk: the tensors of its grafts, or its scores."""
    passing_bytes: int | None = None
    """The most that checkpoints and caches take on disk until the step is done."""
    is_bound: bool = False
    """Whether it may take less, because training may stop early."""


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """The steps of a run, in order."""

    steps: tuple[PlannedStep, ...]
    warnings: tuple[str, ...] = ()
    """What does not fit on this machine, in sentences."""
    num_untried: int = 0
    """Kinds of work that were left out of the rehearsal, so as not to keep the run waiting."""

    @property
    def least_seconds(self) -> float:
        """Estimated time of those steps that are still to be done whose time is known."""
        return sum(step.seconds or 0.0 for step in self.steps if not step.is_done)

    @property
    def seconds(self) -> float | None:
        """Estimated time of the steps that are still to be done."""
        times = [step.seconds for step in self.steps if not step.is_done]
        known = [time for time in times if time is not None]
        return sum(known) if len(known) == len(times) else None

    @property
    def memory_bytes(self) -> int | None:
        """The most memory of all steps that are still to be done."""
        return max((step.memory_bytes for step in self.steps if step.memory_bytes is not None), default=None)

    @property
    def above_bytes(self) -> int | None:
        """How much of that comes on top of the loaded base."""
        return max((step.above_bytes for step in self.steps if step.above_bytes is not None), default=None)

    @property
    def kept_bytes(self) -> int:
        """What stays on disk of all steps that are still to be done."""
        return sum(step.kept_bytes or 0 for step in self.steps)

    @property
    def passing_bytes(self) -> int:
        """The most that checkpoints and caches take on disk at once."""
        return max((step.passing_bytes or 0 for step in self.steps), default=0)


@dataclass(frozen=True, kw_only=True)
class RunPlanned:
    """The run begins."""

    plan: RunPlan
    folder: Path


@dataclass(frozen=True, kw_only=True)
class StepStarted:
    """A step begins."""

    name: str
    kind: StepKind
    description: str
    index: int
    count: int


@dataclass(frozen=True, kw_only=True)
class StepSkipped:
    """A step need not be done."""

    name: str
    index: int
    count: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class TrainStep:
    """A graft made one update."""

    name: str
    step: Step


@dataclass(frozen=True, kw_only=True)
class StepFinished:
    """A step is done."""

    name: str
    seconds: float
    summary: str
    left: float | None = None
    """Seconds that the steps after it are likely to take, judged by those that are done; None where nothing is known
    or no step is left."""


@dataclass(frozen=True, kw_only=True)
class Noted:
    """Something that a user should know."""

    sentence: str


@dataclass(frozen=True, kw_only=True)
class RunFinished:
    """All is done and written."""

    summary: RunSummary
    folder: Path
    report: Path


Event = RunPlanned | StepStarted | StepSkipped | TrainStep | StepFinished | Noted | RunFinished
