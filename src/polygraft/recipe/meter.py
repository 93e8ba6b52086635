"""What the steps of a run take, beside what they were expected to take."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from polygraft.recipe.score import LABELS
from polygraft.report.summary import StepSummary
from polygraft.train.memory import PeakMemory

if TYPE_CHECKING:
    from pathlib import Path

    from polygraft.recipe.events import RunPlan
    from polygraft.recipe.steps import Job
    from polygraft.recipe.workshop import Workshop


class Meter:
    """Measures every step of a run, and corrects what the others are expected to take.

    Args:
        plan: What was expected.
    """

    def __init__(self, plan: RunPlan) -> None:
        self.plan = plan
        self._taken: dict[str, float] = {}
        self._peaks: dict[str, int] = {}
        self._bytes: dict[str, int] = {}
        self._memory = PeakMemory()

    @contextmanager
    def measure(self, workshop: Workshop, job: Job, *, scores: Path) -> Generator[None]:
        """Measure a step while it is done.

        Args:
            workshop: What the steps share.
            job: The step.
            scores: The folder where scoring steps leave what they gave.
        """
        stored, started = workshop.num_bytes_stored, time.perf_counter()
        self._memory.begin()
        yield
        self._taken[job.name] = time.perf_counter() - started
        self._peaks[job.name] = self._memory.read()
        self._bytes[job.name] = workshop.num_bytes_stored - stored + _measure_scores(scores, job.digest)

    def watch(self) -> None:
        """Look at the memory now: a training that begins or ends lets the system's record begin anew."""
        self._memory.read()

    def tell(self, job: Job) -> float:
        """Give how many seconds a step took."""
        return self._taken[job.name]

    def guess_left(self) -> float | None:
        """Give the seconds that the steps that are not done yet are likely to take.

        What they were expected to take is multiplied by how much longer those took that are done.

        Returns:
            None where nothing is left, or nothing is known of a step.
        """
        open_steps = [step for step in self.plan.steps if not step.is_done and step.name not in self._taken]
        expected = [step.seconds for step in open_steps]
        known = [seconds for seconds in expected if seconds is not None]
        if not expected or len(known) < len(expected):
            return None
        return self._find_ratio() * sum(known)

    def _find_ratio(self) -> float:
        """Give how many times as long as expected the steps took that are done; 1 before any is."""
        predicted = {step.name: step.seconds for step in self.plan.steps}
        both = [
            (taken, predicted[name]) for name, taken in self._taken.items() if predicted[name] is not None
        ]
        expected = sum(seconds or 0.0 for _, seconds in both)
        return sum(taken for taken, _ in both) / expected if expected > 0 else 1.0

    def list_steps(self) -> tuple[StepSummary, ...]:
        """List all steps of the plan with what they took."""
        return tuple(
            StepSummary(
                name=step.name,
                kind=step.kind,
                predicted_seconds=step.seconds,
                seconds=self._taken.get(step.name),
                predicted_memory_bytes=step.memory_bytes,
                memory_bytes=self._peaks.get(step.name),
                predicted_bytes=step.kept_bytes,
                num_bytes=self._bytes.get(step.name),
                is_bound=step.is_bound,
            )
            for step in self.plan.steps
        )


def _measure_scores(folder: Path, digest: str) -> int:
    """Give the bytes of what a scoring step left; 0 of steps that train."""
    paths = (folder / f"{digest}.json", folder / f"{digest}{LABELS}")
    return sum(path.stat().st_size for path in paths if path.is_file())
