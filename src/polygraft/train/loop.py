"""The one training loop: a generator of steps.

Every random choice is a function of the seed and the step's number, so that a training that goes on
from a checkpoint ends with the same bytes as one that was never interrupted (CPU, fixed threads).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from polygraft.attach.attach import Attachment, attach
from polygraft.attach.averages import work_out_averages
from polygraft.attach.recompute import recompute_layers
from polygraft.data.batches import padding_share
from polygraft.errors import TrainError
from polygraft.parts.head import Head
from polygraft.train.device import DevicePeak, finish_work
from polygraft.train.draws import Draws
from polygraft.train.gradients import check_gradients
from polygraft.train.memory import PeakMemory, give_back_memory, keep_freed_memory
from polygraft.train.precision import Precision
from polygraft.train.prefix import find_kept_depth, say_not_kept, serve
from polygraft.train.processes import join_processes
from polygraft.train.progress import Progress
from polygraft.train.resume import pack_tensors, unpack_tensors
from polygraft.train.sentences import say_nothing_right, say_stopped
from polygraft.train.settings import TrainSettings, compute_lr
from polygraft.train.step import Step
from polygraft.train.updates import choose_plan, note_long_rows, plan_updates

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.attach.compile import CompiledLayers
    from polygraft.attach.graft import Graft
    from polygraft.attach.plan import Plan
    from polygraft.base.base import Base
    from polygraft.train.checkpoint import Checkpoints
    from polygraft.train.objective import Objective

NUM_EVALUATIONS = 10


class Interrupted(TrainError):  # noqa: N818
    """Training was asked to stop; a checkpoint holds everything so far."""


@dataclass(kw_only=True)
class Training:
    """One graft to be trained.

    Where a launcher started several processes (`torchrun`, `accelerate launch`), they share the batches of each update,
    which are `settings.accumulate` times as many as processes, and all end with the same values. The first of them
    scores held-out data and writes checkpoints.

    Args:
        base: The frozen base.
        graft: What is trained: all its values.
        plans: What is in force while it is trained. With several, each step takes one by chance, so that the graft
            learns to stand on each of them.
        grafts: The grafts that the plans name, by name; another training's `averages` may be among them.
        objective: What is minimised. While it computes a batch, PyTorch's generators hold what the seed and the batch's
            number say, and afterwards what they held before: a training that goes on draws what it would have drawn.
        settings: How.
        evaluate: Scores an attachment of the first plan on held-out data; larger is better, and what is not a number
            is worse than any. The best values are kept, the later of equally good ones.
        checkpoints: Where to save what is done so far, also where whoever follows the steps fails, or asks for no more.
        should_stop: Asked after every step; when true, a checkpoint is written and `Interrupted` raised.
        notify: Told sentences that a user should see.
        penalty: What is added to the loss for the graft's values alone, a scalar with a gradient.
        prepare: Told the number of each step, counted from 0, before it.
        lr_factors: What the learning rate is multiplied by for the values of some kinds of parts.

    Raises:
        OptionError: The settings ask for dropout, and the base has none.
    """

    base: Base
    graft: Graft
    plans: Sequence[Plan]
    grafts: Mapping[str, Graft]
    objective: Objective
    settings: TrainSettings
    evaluate: Callable[[Attachment], float] | None = None
    checkpoints: Checkpoints | None = None
    should_stop: Callable[[], bool] = lambda: False
    notify: Callable[[str], None] = lambda sentence: None
    penalty: Callable[[], Tensor] | None = None
    prepare: Callable[[int], None] = lambda number: None
    lr_factors: Mapping[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        """Freeze all but the graft, and plan the epochs."""
        for graft in self.grafts.values():
            graft.layers.requires_grad_(graft is self.graft)
        self.averages = work_out_averages(self.base, self.plans, self.grafts, learned=self.graft)
        self.at_hand: dict[str, Graft] = {**self.grafts, **self.averages}
        self.parameters = dict(self.graft.layers.named_parameters())
        factors = {Head.kind: self.settings.head_lr_factor, **self.lr_factors}
        by_part: dict[str, list[Tensor]] = {"": [], **{kind: [] for kind in factors}}
        for name, tensor in self.parameters.items():
            kind = name.partition(".")[0]
            by_part[kind if kind in factors else ""].append(tensor)
        groups = [(tensors, factors.get(kind, 1.0)) for kind, tensors in by_part.items()]
        self.optimiser = torch.optim.AdamW(
            [{"params": tensors, "factor": factor} for tensors, factor in groups if tensors],
            lr=self.settings.lr,
            weight_decay=self.settings.weight_decay,
            fused=True,
        )
        self.processes = join_processes(self.base.device)
        self.compiled = _compile_layers(self.base) if self.settings.compile else None
        self.precision = Precision(self.settings.precision, self.base.device)
        self.progress = Progress()
        self.memory = PeakMemory()
        self.device_peak = DevicePeak(self.base.device)
        self.best_tensors: dict[str, Tensor] = {}
        self.saved_step: int | None = None
        self.updates = plan_updates(self.objective, self.settings, num_processes=self.processes.launch.count)
        self.depth = find_kept_depth(self.base, self.graft, settings=self.settings)
        self.draws = Draws(self.base, settings=self.settings)

    @property
    def total(self) -> int:
        """Number of steps."""
        return len(self.updates)

    @property
    def batches_per_update(self) -> int:
        """Batches of an update, over all processes."""
        return self.settings.accumulate * self.processes.launch.count

    def run(self) -> Generator[Step]:
        """Train, step by step; afterwards the graft holds its best values, the later of equally good ones.

        Raises:
            Interrupted: `should_stop` said so.
            TrainError: The loss is not a number, or a value of the graft gets no gradient.
        """
        self._resume()
        note_long_rows(self.objective, self.settings, notify=self.notify)
        if self.settings.dropout and self.objective.cache is not None:
            self.notify(say_not_kept(self.graft.name))
        # What was freed before would be taken again, and not be counted.
        give_back_memory()
        self.memory.begin()
        self.device_peak.begin()
        self._meet()
        self._get_ready()
        with keep_freed_memory(), serve(self.objective.cache):
            yield from self._go_on()
        if self.best_tensors:
            self.graft.layers.load_state_dict(self.best_tensors)
        self.graft.layers.requires_grad_(False)
        if self.progress.best == 0 and self.objective.scores_can_be_zero:
            name, steps = self.graft.name, self.progress.step
            self.notify(say_nothing_right(name, num_steps=steps, settings=self.settings))

    def _get_ready(self) -> None:
        """Let the objective do what it does once, if it has not; the time counts as that of training."""
        if self.progress.step < self.total:
            started = time.perf_counter()
            self.objective.get_ready(self.base)
            self.progress.seconds += time.perf_counter() - started

    def _go_on(self) -> Generator[Step]:
        for number in range(self.progress.step, self.total):
            if self._is_done():
                break
            started = time.perf_counter()
            step = self._take(number, started)
            try:
                yield step
                is_stopped = self.processes.agree(on=self.should_stop())
            except BaseException:
                # Whoever follows the steps failed, or asks for no more.
                self._save_alone()
                raise
            if is_stopped:
                self.save()
                is_saved = self.checkpoints is not None
                raise Interrupted(
                    say_stopped(self.graft.name, step=step.number, total=self.total, is_saved=is_saved)
                )
            if step.number % self.settings.checkpoint_every == 0:
                self.save()

    def measure_cost(self) -> dict[str, float]:
        """Give what the training took so far.

        Returns:
            Seconds, those of scoring held-out data among them, tokens and their rate in training alone, peak memory,
            the share of padding among the tokens of all batches so far; with a cache also the share of the batches
            whose frozen layers were looked up, and the bytes that the cache holds.
        """
        progress, cache = self.progress, self.objective.cache
        lengths, made = self.objective.lengths(), self.updates[: progress.step]
        return {
            "seconds": progress.seconds,
            "tokens": float(progress.tokens),
            "scoring_seconds": progress.scoring_seconds,
            "tokens_per_second": progress.tokens_per_second,
            **self._measure_memory(),
            "padding": padding_share(lengths, [rows for update in made for rows in update]),
            **({} if cache is None else {"looked_up": progress.num_looked_up / max(1, progress.num_batches)}),
            **({} if cache is None else cache.measure()),
        }

    def _take(self, number: int, started: float) -> Step:
        plan = choose_plan(self.plans, seed=self.settings.seed, number=number)
        self.prepare(number)
        lr = compute_lr(self.settings, step=number, total=self.total)
        self.optimiser.zero_grad(set_to_none=True)
        with self._change_layers(), attach(self.base, plan, grafts=self.at_hand) as attachment:
            value, num_tokens = self._add_gradients(attachment, number, lr)
            if number == 0:
                self._check_first(attachment)
        self._update(lr)
        progress = self.progress
        progress.step = number + 1
        progress.tokens += num_tokens
        held_out, is_best, scoring = None, False, 0.0
        if self._is_scored():
            # A GPU may still be at work on the update, which is no part of the scoring.
            finish_work(self.base.device)
            trained = time.perf_counter()
            held_out, is_best = self._evaluate()
            scoring = time.perf_counter() - trained
        progress.seconds += time.perf_counter() - started
        progress.scoring_seconds += scoring
        progress.note_point(loss=value, held_out=held_out, total=self.total)
        return Step(
            number=number + 1,
            total=self.total,
            loss=value,
            lr=lr,
            plan=str(plan),
            num_tokens=num_tokens,
            seconds=progress.seconds,
            scoring_seconds=progress.scoring_seconds,
            tokens=progress.tokens,
            held_out=held_out,
            is_best=is_best,
            peak_memory_bytes=self.memory.read(),
            peak_device_memory_bytes=self.device_peak.read(),
        )

    def _measure_memory(self) -> dict[str, float]:
        """Give the largest sizes, those from before the training was stopped among them."""
        earlier = self.progress.memory
        now = {**self.memory.measure(), **self.device_peak.measure()}
        return {key: max(size, earlier.get(key, 0.0)) for key, size in now.items()}

    def _change_layers(self) -> ExitStack:
        """Let the base's layers run compiled, or again for the gradients, as the settings say."""
        with ExitStack() as stack:
            if self.compiled is not None:
                stack.enter_context(self.compiled.put_in_force())
            if self.settings.recompute:
                stack.enter_context(recompute_layers(self.base))
            return stack.pop_all()

    def _add_gradients(self, attachment: Attachment, number: int, lr: float) -> tuple[float, int]:
        """Make the gradient of the mean over all targets of a step's batches; give that mean and the tokens."""
        batches = self.updates[number]
        total, num_targets, num_tokens, first = 0.0, 0, 0, 0
        for place, rows in self.processes.share(batches):
            step = number * self.batches_per_update + place
            with self.draws.settle(step):
                with self.precision.round_products():
                    loss = self.objective.compute_loss(
                        attachment, rows, seed=self.settings.seed, step=step, depth=self.depth
                    )
                first = first or max(1, loss.num_targets)
                self.precision.scale(loss.total / first).backward()
            total += float(loss.total.detach())
            num_targets += loss.num_targets
            num_tokens += loss.num_tokens
            self.progress.num_batches += 1
            self.progress.num_looked_up += loss.looked_up
        total, num_targets, num_tokens = self.processes.add_up(total, num_targets, num_tokens)
        if not math.isfinite(total):
            raise TrainError(
                f"The loss of '{self.graft.name}' is {total} at step {number + 1} of {self.total}. Expected a "
                f"number. Lower the learning rate (it is {lr:g}), and train again."
            )
        if len(batches) > 1:
            # How many targets there are is known only now.
            for tensor in self.parameters.values():
                if tensor.grad is not None:
                    tensor.grad *= first / max(1, num_targets)
        self.processes.add_gradients(self.parameters.values())
        if self.penalty is not None:
            self.precision.scale(self.penalty()).backward()
        return total / max(1, num_targets), int(num_tokens)

    def _update(self, lr: float) -> None:
        self.precision.unscale(self.optimiser)
        if self.settings.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = lr * group["factor"]
        self.precision.step(self.optimiser)

    def _check_first(self, attachment: Attachment) -> None:
        for sentence in attachment.edits.list_conflicts():
            self.notify(sentence)
        name, has_batches = self.graft.name, self.progress.num_batches > 0
        check_gradients(attachment, self.parameters, name=name, has_batches=has_batches)

    def _is_scored(self) -> bool:
        """Whether held-out data is scored after this step."""
        step, every = self.progress.step, self.settings.evaluate_every
        every = every or max(1, math.ceil(self.total / NUM_EVALUATIONS))
        return self.evaluate is not None and (step % every == 0 or step == self.total)

    def _evaluate(self) -> tuple[float, bool]:
        """Score held-out data, and say whether the values are the best so far."""
        score = 0.0
        if self.processes.launch.is_first and self.evaluate is not None:
            with torch.no_grad(), attach(self.base, self.plans[0], grafts=self.at_hand) as attachment:
                score = self.evaluate(attachment)
        # The others added 0 to it.
        (score,) = self.processes.add_up(score)
        is_best = self.progress.note_score(score)
        if is_best:
            self.best_tensors = {name: tensor.clone() for name, tensor in self.graft.tensors().items()}
        return score, is_best

    def _is_done(self) -> bool:
        return self.settings.patience is not None and self.progress.since_best >= self.settings.patience

    def save(self) -> None:
        """Write a checkpoint, if there is a place and none of this step yet; then it is there for all processes."""
        if self.checkpoints is None:
            return
        if self.processes.launch.is_first:
            self._write(self.checkpoints)
        # A launcher ends all processes as soon as one has ended, and one that goes on reads what was written.
        self.processes.wait()

    def _save_alone(self) -> None:
        """Write a checkpoint before an error goes on; the other processes may not come to where they would wait."""
        if self.checkpoints is not None and self.processes.launch.is_first:
            # Why the training ends matters more than why it cannot be saved.
            with suppress(Exception):
                self._write(self.checkpoints)

    def _write(self, checkpoints: Checkpoints) -> None:
        step = self.progress.step
        # What goes on from a step is the same whether its checkpoint has the last values or already the best ones.
        if step == self.saved_step:
            return
        self.progress.scaler = self.precision.pack()
        self.progress.memory = self._measure_memory()
        tensors = pack_tensors(self.graft, self.best_tensors, self.optimiser)
        checkpoints.save(step, tensors, vars(self.progress))
        self.saved_step = step

    def _meet(self) -> None:
        """See that all processes begin with the same values at the same step."""
        (steps,) = self.processes.add_up(self.progress.step)
        count = self.processes.launch.count
        if self.processes.agree(on=steps != count * self.progress.step):
            raise TrainError(
                f"One of the {count} processes that train '{self.graft.name}' is at step {self.progress.step}, and "
                "they are not all at the same one. Expected all to go on from one checkpoint. Give them a store and a "
                "folder of runs that all of them can read."
            )
        self.processes.copy_first(tensor.data for tensor in self.parameters.values())

    def _resume(self) -> None:
        state = None if self.checkpoints is None else self.checkpoints.load()
        if state is None:
            return
        for sentence in state.damaged:
            self.notify(sentence)
        if not state.facts:
            return
        self.progress = Progress.from_facts(state.facts)
        self.precision.unpack(self.progress.scaler)
        self.best_tensors = unpack_tensors(state.tensors, self.graft, self.optimiser)
        self.saved_step = self.progress.step
        self.notify(
            f"Training of '{self.graft.name}' goes on after step {self.progress.step} of {self.total}."
        )


def _compile_layers(base: Base) -> CompiledLayers:
    # Loaded here: PyTorch's compiler takes a second to load.
    from polygraft.attach.compile import CompiledLayers

    return CompiledLayers(base)
