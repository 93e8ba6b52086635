"""How long the steps of a run will take, and how much memory and disk, from a short rehearsal on this machine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polygraft.attach.depth import Depth, can_begin_inside
from polygraft.attach.graft import Graft, shape_layers
from polygraft.evaluate.run import BATCH_TOKENS
from polygraft.parts.head import HeadLayers
from polygraft.recipe.caching import find_memory
from polygraft.recipe.controls import NEAREST
from polygraft.recipe.drafts import Round, measure_stored
from polygraft.recipe.packing import list_below
from polygraft.recipe.score import list_conditions
from polygraft.train.checkpoint import NUM_KEPT
from polygraft.train.loop import NUM_EVALUATIONS
from polygraft.train.prefix import find_kept_depth

if TYPE_CHECKING:
    from polygraft.recipe.rehearse import Pace
    from polygraft.recipe.steps import Job
    from polygraft.recipe.work import Planner, Work

VALUE = 4
"""Bytes of a value that is trained."""
OPTIMISER = 2
"""What AdamW remembers of each value, in values."""
PACKED = 2
"""How often the bytes of a checkpoint are in memory while it is written."""
SCORE_BYTES = 700
"""Of a score with its intervals, in the run's folder."""
LOSS_BYTES = 290
"""Of a loss with its intervals, in the run's folder."""
TEXT_BYTES = 150
"""Of what is known of a text, in the run's folder."""
LABEL_BYTES = 0.4
"""Of a predicted label among others, packed."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a step is likely to take."""

    seconds: float | None
    """None where there was no memory to try it."""
    above_bytes: int
    """The most memory on top of what the loaded base takes."""
    kept_bytes: int
    """What stays on disk: the grafts' tensors, or the scores."""
    passing_bytes: int = 0
    """The most that checkpoints and caches take on disk beside that, until the step is done."""
    is_bound: bool = False
    """Whether training may stop before."""


def estimate_step(planner: Planner, job: Job) -> Estimate:
    """Estimate what a step takes.

    Args:
        planner: The step's variant, with what was rehearsed so far.
        job: The step.
    """
    if job.kind in ("evaluate", "recheck"):
        return _estimate_scoring(planner, job)
    if job.kind == "losses":
        return _estimate_losses(planner)
    work = planner.plan(job)
    training = _Training(planner, work)
    seconds = training.estimate_seconds()
    kept = [measure_stored(planner.workshop.base, parts) for parts in work.draft.stored]
    if seconds is not None:
        rates = planner.paces.rates
        seconds += sum(kept) * rates.saved_byte + work.draft.num_chosen * rates.chosen + work.seconds
    return Estimate(
        seconds=seconds,
        above_bytes=round(work.data_bytes + training.estimate_memory()),
        kept_bytes=sum(kept),
        passing_bytes=training.measure_passing(),
        is_bound=work.settings.patience is not None,
    )


class _Training:
    """The trainings of one step."""

    def __init__(self, planner: Planner, work: Work) -> None:
        self.planner, self.work = planner, work
        self.table = planner.workshop.recipe.train.task
        self.base = planner.workshop.base

    @property
    def num_evaluations(self) -> int:
        """How often data kept apart is scored in a round."""
        total = self.work.volume.num_updates
        every = self.work.settings.evaluate_every or max(1, math.ceil(total / NUM_EVALUATIONS))
        return total // every + (total % every > 0)

    def estimate_seconds(self) -> float | None:
        """Give the seconds of all rounds with their scores and checkpoints; None where one is not known."""
        draft, total = self.work.draft, 0.0
        for each in draft.rounds:
            seconds = self._estimate_round(each)
            if seconds is None:
                return None
            total += seconds
        last = draft.rounds[-1]
        if draft.num_scorings or draft.num_batches:
            scoring, update = self.work.find_scoring(last), self.work.find_update(last, False)
            if scoring is None or update is None:
                return None
            batch = self.work.volume.batch_tokens
            total += draft.num_scorings * self._score(scoring)
            total += draft.num_batches * update.seconds.estimate(num_batches=1, num_tokens=batch)
        return total

    def _estimate_round(self, each: Round) -> float | None:
        work, volume = self.work, self.work.volume
        update, scoring = work.find_update(each, False), None
        if each.is_scored and work.num_scored:
            scoring = work.find_scoring(each)
            if scoring is None:
                return None
        if update is None:
            return None
        num_computed = volume.num_batches
        seconds = 0.0
        if self._looks_up(each):
            num_computed = self._count_computed()
            found = work.find_update(each, True)
            if found is None:
                return None
            num_found = volume.num_batches - num_computed
            seconds += found.seconds.estimate(
                num_batches=num_found, num_tokens=num_found * volume.batch_tokens
            )
        seconds += update.seconds.estimate(
            num_batches=num_computed, num_tokens=num_computed * volume.batch_tokens
        )
        seconds += volume.num_updates * update.value * each.num_values
        if scoring is not None:
            # Each may be the best one so far, of which a copy is kept.
            kept = each.num_values * self.planner.paces.rates.copied
            seconds += self.num_evaluations * (self._score(scoring) + kept)
        saved = self._count_saves(each) * self._measure_checkpoint(each)
        return seconds + saved * self.planner.paces.rates.saved_byte

    def _score(self, scoring: Pace) -> float:
        return scoring.seconds.estimate(num_batches=1, num_tokens=self.work.num_scored)

    def _looks_up(self, each: Round) -> bool:
        """Whether later epochs look up whole layers; less than one makes no difference that a rehearsal could see."""
        return self._find_depth(each).layers > 0

    def _find_depth(self, each: Round) -> Depth:
        """Find the depth of which what stands there is looked up; the bottom where nothing is."""
        if self.work.settings.epochs in (None, 1) or self.table.cache == "off":
            return Depth()
        graft = Graft(name="", parts=each.parts, layers=shape_layers(self.base, each.parts))
        depth = find_kept_depth(self.base, graft, settings=self.work.settings)
        read = [layers.options.layer for layers in graft.list_layers(HeadLayers)]
        last = min((layer for layer in read if layer >= 0), default=self.base.sites.num_layers)
        is_pair = self.table.cache == "exact" and can_begin_inside(depth, last=last)
        return depth if is_pair else depth.whole

    def _count_computed(self) -> int:
        """Count the batches that are computed, each once under each of the plans by which it is met."""
        volume, plans = self.work.volume, self.work.num_plans
        epochs = volume.num_batches / volume.num_of_epoch
        met = plans * (1 - (1 - 1 / plans) ** epochs) if plans > 1 else 1
        return min(volume.num_batches, round(volume.num_of_epoch * met))

    def estimate_memory(self) -> float:
        """Give the most bytes of all rounds on top of the base."""
        return max(self._estimate_round_memory(each) for each in self.work.draft.rounds)

    def _estimate_round_memory(self, each: Round) -> float:
        work, values = self.work, VALUE * each.num_values
        held = values + VALUE * each.num_held + (values if each.is_scored else 0)
        held += self._measure_cache(each)[0]
        update = work.find_update(each, False)
        if update is None:
            # A gradient, what the optimiser remembers, and the weights as they were.
            return held + (1 + OPTIMISER + 1) * VALUE * self.planner.paces.count_values(each.parts)
        # The rehearsal trained every place; a gradient and the optimiser's values are of those that are trained.
        fewer = VALUE * (1 + OPTIMISER) * (update.num_values - each.num_values)
        state = max(0.0, update.memory.batch - fewer)
        peak = state + update.memory.token * work.volume.largest_tokens
        # Gradients stay until the next update begins, also while held-out data is scored and a checkpoint written.
        remembered = VALUE * (1 + OPTIMISER) * each.num_values
        if self._count_saves(each):
            peak = max(peak, remembered + PACKED * self._measure_checkpoint(each))
        scoring = work.find_scoring(each) if each.is_scored and work.num_scored else None
        if scoring is not None:
            tokens = min(work.num_scored, BATCH_TOKENS)
            peak = max(peak, remembered + scoring.memory.estimate(num_batches=1, num_tokens=tokens))
        return held + peak

    def _measure_checkpoint(self, each: Round) -> int:
        """Give the bytes of a checkpoint: the values, the best ones, and what the optimiser remembers."""
        times = 1 + OPTIMISER + (1 if each.is_scored and self.work.num_scored else 0)
        return VALUE * times * each.num_values

    def _count_saves(self, each: Round) -> int:
        count, rest = divmod(self.work.volume.num_updates, self.work.settings.checkpoint_every)
        # What is there after the last update is not written again.
        return count + (each.is_saved and rest > 0)

    def _measure_cache(self, each: Round) -> tuple[int, int]:
        """Give the bytes of what is looked up, in memory and in files."""
        depth = self._find_depth(each)
        if not depth:
            return 0, 0
        size = 2 if self.table.cache == "half" else self.base.model.dtype.itemsize
        tokens = self._count_computed() * self.work.volume.batch_tokens
        whole, room = round(tokens * self.base.sites.hidden * size), find_memory(self.table.cache_gib)
        if not depth.in_layer:
            in_memory = min(whole, room)
            return in_memory, whole - in_memory
        # Inside a layer two tensors are kept as long as there is room in memory, and then one below the layer.
        in_memory = min(2 * whole, room)
        return in_memory, round(whole - in_memory / 2) if depth.layers else 0

    def measure_passing(self) -> int:
        """Give the most bytes that checkpoints and caches take on disk at once."""
        most = left = 0
        for each in self.work.draft.rounds:
            count, size = self._count_saves(each), self._measure_checkpoint(each)
            # A new one is whole before the oldest goes.
            most = max(most, left + min(count, NUM_KEPT + 1) * size + self._measure_cache(each)[1])
            left += min(count, NUM_KEPT) * size
        return most


def _estimate_losses(planner: Planner) -> Estimate:
    """Estimate a step that measures every text under the base and every language graft."""
    languages = planner.workshop.recipe.languages
    num_plans, seconds, memory, is_known = 1 + len(languages), 0.0, 0.0, True
    for name in languages:
        work = planner.plan_language(name)
        if not work.num_scored:
            continue
        last = work.draft.rounds[-1]
        pace, tokens = work.find_scoring(last), min(work.num_scored, BATCH_TOKENS)
        if pace is None:
            is_known, memory = False, max(memory, 2.0 * VALUE * last.num_values)
            continue
        seconds += num_plans * pace.seconds.estimate(num_batches=1, num_tokens=work.num_scored)
        values = VALUE * last.num_values
        memory = max(memory, values + pace.memory.estimate(num_batches=1, num_tokens=tokens))
    return Estimate(
        seconds=seconds if is_known else None,
        above_bytes=round(memory),
        kept_bytes=len(languages) * (num_plans * LOSS_BYTES + TEXT_BYTES),
    )


def _estimate_scoring(planner: Planner, job: Job) -> Estimate:
    """Estimate a step that scores: each of its plans on each of its test files."""
    workshop, name = planner.workshop, job.task or ""
    is_again = job.kind == "recheck"
    seconds, memory, num_bytes, is_known = 0.0, 0.0, 0.0, True
    for each in list_below(workshop.recipe, name) if is_again else [name]:
        task, parts = workshop.recipe.tasks[each], planner.list_scored_parts(each)
        tried = planner.samples.take_labels(workshop.corpus, task, task.dev)
        for language, path in task.test.items():
            sample = planner.samples.take_labels(workshop.corpus, task, path)
            tokens = min(sample.num_tokens, BATCH_TOKENS)
            # Any language's graft takes as long as the nearest one's.
            nearest = task.source if NEAREST in workshop.recipe.controls else None
            plans = list(list_conditions(workshop.recipe, each, language, nearest=nearest).values())
            for plan in plans[-1:] if is_again else plans:
                below = planner.list_below(plan)
                values = VALUE * sum(planner.paces.count_values(one) for one in (parts, *below))
                # Scores of earlier tasks keep no labels.
                num_bytes += SCORE_BYTES + (0 if is_again else LABEL_BYTES * sample.num_words)
                pace = planner.paces.find_label_scores(parts, below, tried)
                if pace is None:
                    is_known, memory = False, max(memory, 2.0 * values)
                    continue
                seconds += pace.seconds.estimate(num_batches=1, num_tokens=sample.num_tokens)
                memory = max(memory, values + pace.memory.estimate(num_batches=1, num_tokens=tokens))
    return Estimate(
        seconds=seconds if is_known else None, above_bytes=round(memory), kept_bytes=round(num_bytes)
    )
