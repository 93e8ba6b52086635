"""What a run tells about itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from polygraft.report.summary import RunSummary
from polygraft.train.step import Step

StepKind = Literal["mlm", "language", "task", "evaluate", "recheck"]


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
    seconds: float | None
    """Estimated time; None where nothing is known of this machine."""


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """The steps of a run, in order."""

    steps: tuple[PlannedStep, ...]

    @property
    def seconds(self) -> float | None:
        """Estimated time of the steps that are still to be done."""
        times = [step.seconds for step in self.steps if not step.is_done]
        known = [time for time in times if time is not None]
        return sum(known) if len(known) == len(times) else None


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
