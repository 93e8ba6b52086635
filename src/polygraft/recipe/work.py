"""What a training step of a recipe will do, in numbers that its cost depends on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from polygraft.attach.plan import Stack
from polygraft.data.masking import Masking
from polygraft.parts.delta import Delta
from polygraft.parts.mask import Mask
from polygraft.recipe.corpus import find_labels
from polygraft.recipe.drafts import Draft, Round, draft_method, draft_plain
from polygraft.recipe.grafts import (
    list_language_parts,
    list_layers_above,
    list_mlm_parts,
    list_task_parts,
    make_task_head,
)
from polygraft.recipe.learned import count_taken
from polygraft.recipe.paces import Paces, Stacked
from polygraft.recipe.packing import list_below
from polygraft.recipe.rehearse import Pace, mean_pace
from polygraft.recipe.steps import find_source
from polygraft.recipe.volume import Samples, Volume, guess_vocabulary, measure_volume, mix_samples
from polygraft.train.settings import compute_lr

if TYPE_CHECKING:
    from polygraft.attach.plan import Plan
    from polygraft.parts.part import Part
    from polygraft.recipe.methods import Method
    from polygraft.recipe.steps import Job
    from polygraft.recipe.volume import TextSample
    from polygraft.recipe.workshop import Workshop
    from polygraft.train.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class Work:
    """A training step."""

    draft: Draft
    settings: TrainSettings
    volume: Volume
    num_scored: float
    """Tokens of the data that is scored on the way; 0 without any."""
    num_plans: int
    """Plans among which each update takes one."""
    find_update: Callable[[Round, bool], Pace | None]
    """Tells what an update of a round takes, and, where that is asked for, one that looks up what frozen layers give;
    None where there is no memory to try."""
    find_scoring: Callable[[Round], Pace | None]
    """The same of scoring the data kept apart."""
    seconds: float
    """What turning the data into tokens takes."""
    data_bytes: float
    """Memory that the tokens take."""


@dataclass(frozen=True, kw_only=True)
class Planner:
    """What the steps of one variant are planned with."""

    workshop: Workshop
    samples: Samples
    paces: Paces

    def plan(self, job: Job) -> Work:
        """Say what a training step will do."""
        if job.kind == "mlm":
            return self._plan_mlm()
        if job.kind == "language":
            return self.plan_language(cast("str", job.language))
        return self._plan_task(job)

    def _plan_mlm(self) -> Work:
        recipe, base = self.workshop.recipe, self.workshop.base
        texts = [self._take_text(name) for name in recipe.languages]
        parts = tuple(list_mlm_parts(recipe, base))
        settings = recipe.train.plan_training(recipe.train.mlm, seed=recipe.text_seed)
        return self._plan_text(
            draft_plain(base, parts, is_scored=False),
            mix_samples(texts),
            below=(),
            settings=settings,
            mask_rate=recipe.train.mlm.mask_rate,
            num_scored=0,
        )

    def plan_language(self, name: str) -> Work:
        """Say what the training of a language's graft will do."""
        recipe, base, table = self.workshop.recipe, self.workshop.base, self.workshop.recipe.train.language
        own, source = self._take_text(name), find_source(recipe)
        is_mixed = table.source_share > 0 and source not in (None, name)
        text = mix_samples([own, self._take_text(cast("str", source))]) if is_mixed else own
        settings, method = recipe.train.plan_training(table, seed=recipe.text_seed), table.find_method()
        num_scored = own.count_held_out(num_held_out=table.held_out)
        if method is None:
            draft = draft_plain(base, list_language_parts(recipe, base), is_scored=num_scored > 0)
        else:
            volume = measure_volume(text.encoded.lengths, settings, times=text.times)
            skip = list_layers_above(recipe, base)
            draft = self._draft(method, settings, volume, head=(), skip_layers=skip)
        return self._plan_text(
            draft,
            text,
            below=() if base.head is not None else (tuple(list_mlm_parts(recipe, base)),),
            settings=settings,
            mask_rate=table.mask_rate,
            num_scored=num_scored,
        )

    def _plan_text(
        self,
        draft: Draft,
        text: TextSample,
        *,
        below: Stacked,
        settings: TrainSettings,
        mask_rate: float,
        num_scored: float,
    ) -> Work:
        base, table = self.workshop.base, self.workshop.recipe.train.language
        scored: dict[str, Any] = {
            "vocabulary": guess_vocabulary(text, special_ids=base.special_ids, num_pieces=base.sites.vocab),
            "masking": Masking(rate=mask_rate),
            "scores_all_pieces": table.vocabulary == "full",
            "num_negatives": table.num_negatives,
        }
        seed = self.workshop.recipe.text_seed
        return Work(
            draft=draft,
            settings=settings,
            volume=measure_volume(text.encoded.lengths, settings, times=text.times),
            num_scored=num_scored,
            num_plans=1,
            find_update=lambda each, looks_up: self.paces.find_text_update(
                each.parts, below, text, settings=settings, **scored
            ),
            find_scoring=lambda each: self.paces.find_text_scores(
                each.parts, below, text, seed=seed, **scored
            ),
            # Where there is a step `mlm`, it has read all texts before.
            seconds=0.0 if below else text.seconds * text.times,
            data_bytes=4 * text.encoded.num_tokens * text.times,
        )

    def _plan_task(self, job: Job) -> Work:
        workshop, name = self.workshop, cast("str", job.task)
        recipe, base = workshop.recipe, workshop.base
        task, table = recipe.tasks[name], recipe.train.task
        settings, method = recipe.train.plan_training(table, seed=recipe.seed), table.find_method()
        labels = find_labels(workshop.corpus.read_examples(task, task.train), source=task.train)
        parts = list_task_parts(recipe, task, labels)
        sample = self.samples.take_labels(workshop.corpus, task, task.train, num_taken=count_taken(parts))
        dev = self.samples.take_labels(workshop.corpus, task, task.dev)
        volume = measure_volume(sample.objective.lengths(), settings, times=sample.times)
        if method is None:
            draft = draft_plain(base, parts, is_scored=True)
        else:
            head = (make_task_head(task, labels),)
            names = [*list_below(recipe, name), name]
            draft = self._draft(
                method, settings, volume, head=head, skip_layers=table.skip_layers, names=names
            )
        stacks = self.list_stacks(job)

        def find_update(each: Round, looks_up: bool) -> Pace | None:
            return mean_pace(
                [
                    self.paces.find_label_update(
                        each.parts, below, sample, settings=settings, looks_up=looks_up
                    )
                    for below in stacks
                ]
            )

        return Work(
            draft=draft,
            settings=settings,
            volume=volume,
            num_scored=dev.num_tokens,
            num_plans=len(stacks),
            find_update=find_update,
            find_scoring=lambda each: self.paces.find_label_scores(each.parts, stacks[0], dev),
            seconds=sample.seconds * sample.times,
            data_bytes=12 * float(sample.objective.lengths().sum()) * sample.times,
        )

    def list_stacks(self, job: Job) -> list[Stacked]:
        """List what stands below a task in each plan that it is trained under, lowest first."""
        table = self.workshop.recipe.train.task
        if job.below:
            return [(self._list_packed_stand_in(),) * len(job.below)]
        stacks: list[Stacked] = [(self.list_language_stand_in(),) for _ in job.under]
        return [*stacks, ()] if table.ready_for == "targets" or not stacks else stacks

    def list_language_stand_in(self) -> tuple[Part, ...]:
        """List the parts of a graft that takes as much as one of the languages' grafts."""
        recipe, base = self.workshop.recipe, self.workshop.base
        method = recipe.train.language.find_method()
        if method is None:
            return tuple(list_language_parts(recipe, base))
        return (Delta(weights=method.weights, skip_layers=list_layers_above(recipe, base)),)

    def list_scored_parts(self, name: str) -> tuple[Part, ...]:
        """List the parts of a graft that takes as much to score with as that of a task."""
        workshop, table = self.workshop, self.workshop.recipe.train.task
        task, method = workshop.recipe.tasks[name], table.find_method()
        labels = find_labels(workshop.corpus.read_examples(task, task.train), source=task.train)
        if method is None:
            return tuple(list_task_parts(workshop.recipe, task, labels))
        names = [*list_below(workshop.recipe, name), name]
        head = (make_task_head(task, labels),)
        draft = draft_method(workshop.base, method, head=head, skip_layers=table.skip_layers, names=names)
        return draft.rounds[-1].parts

    def list_below(self, plan: Plan) -> Stacked:
        """List what takes as much as what stands below a task in a plan under which it is scored."""
        # A mean of several grafts is one of them.
        num_below = len(plan.members) - 1 if isinstance(plan, Stack) else 0
        if not num_below:
            return ()
        if self.workshop.recipe.train.task.packs:
            return (self._list_packed_stand_in(),) * num_below
        return (self.list_language_stand_in(),) * num_below

    def _list_packed_stand_in(self) -> tuple[Part, ...]:
        table = self.workshop.recipe.train.task
        method = table.find_method()
        assert method is not None
        return (Mask(weights=method.weights, skip_layers=table.skip_layers),)

    def _draft(self, method: Method, settings: TrainSettings, volume: Volume, **facts: Any) -> Draft:
        total = volume.num_updates
        reach = sum(compute_lr(settings, step=step, total=total) for step in range(total))
        return draft_method(self.workshop.base, method, reach=reach, **facts)

    def _take_text(self, name: str) -> TextSample:
        return self.samples.take_text(self.workshop.recipe, name, longest=self.workshop.corpus.longest)
