"""What the steps of a run take, beside what they were expected to take."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from polygraft.errors import PolygraftError
from polygraft.recipe.score import LABELS
from polygraft.recipe.taken import StepTaken, load_taken, save_taken
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
        folder: Where what steps took is kept, of `find_taken`; None keeps nothing, as in all processes but the first.
        began: When the run began, ISO 8601.
    """

    def __init__(self, plan: RunPlan, *, folder: Path | None = None, began: str = "") -> None:
        self.plan = plan
        self.folder = folder
        self.began = began
        self._taken: dict[str, float] = {}
        self._memory = PeakMemory()

    @contextmanager
    def measure(self, workshop: Workshop, job: Job, *, scores: Path) -> Generator[None]:
        """Measure a step while it is done; of one that is stopped it is kept how far it came.

        Args:
            workshop: What the steps share.
            job: The step.
            scores: The folder where scoring steps leave what they gave.
        """
        stored, started = workshop.num_bytes_stored, time.perf_counter()
        self._memory.begin()
        try:
            yield
        except BaseException:
            # Where nothing can be written, the reason that it was stopped for matters more.
            with suppress(OSError, PolygraftError):
                self._keep(job, seconds=time.perf_counter() - started, num_bytes=0, is_done=False)
            raise
        self._taken[job.name] = time.perf_counter() - started
        num_bytes = workshop.num_bytes_stored - stored + _measure_scores(scores, job.digest)
        self._keep(job, seconds=self._taken[job.name], num_bytes=num_bytes, is_done=True)

    def _keep(self, job: Job, *, seconds: float, num_bytes: int, is_done: bool) -> None:
        """Write down what a step took, with what it took before it was stopped."""
        if self.folder is None:
            return
        before = load_taken(self.folder, job.digest)
        before = None if before is None or before.is_done else before
        planned = next((step for step in self.plan.steps if step.name == job.name), None)
        expected = before or StepTaken(
            is_done=False,
            seconds=0.0,
            memory_bytes=0,
            num_bytes=0,
            predicted_seconds=planned and planned.seconds,
            predicted_memory_bytes=planned and planned.memory_bytes,
            predicted_bytes=planned and planned.kept_bytes,
            is_bound=planned is not None and planned.is_bound,
            sittings=(),
        )
        taken = dataclasses.replace(
            expected,
            is_done=is_done,
            seconds=expected.seconds + seconds,
            memory_bytes=max(expected.memory_bytes, self._memory.read()),
            num_bytes=num_bytes,
            sittings=tuple(dict.fromkeys((*expected.sittings, self.began))),
        )
        save_taken(self.folder, job.digest, taken)

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


def _measure_scores(folder: Path, digest: str) -> int:
    """Give the bytes of what a scoring step left; 0 of steps that train."""
    paths = (folder / f"{digest}.json", folder / f"{digest}{LABELS}")
    return sum(path.stat().st_size for path in paths if path.is_file())
