"""The one training loop: a generator of steps.

Every random choice is a function of the seed and the step's number, so that a training that goes on
from a checkpoint ends with the same bytes as one that was never interrupted (CPU, fixed threads).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from polygraft.attach.attach import Attachment, attach
from polygraft.attach.depth import count_layers_below
from polygraft.data.batches import padding_share
from polygraft.errors import TrainError
from polygraft.parts.head import Head
from polygraft.train.memory import PeakMemory
from polygraft.train.resume import pack_tensors, unpack_tensors
from polygraft.train.settings import TrainSettings, compute_lr
from polygraft.train.step import Step

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from polygraft.attach.graft import Graft
    from polygraft.attach.plan import Plan
    from polygraft.base.base import Base
    from polygraft.train.checkpoint import Checkpoints
    from polygraft.train.objective import Objective

NUM_EVALUATIONS = 10


class Interrupted(TrainError):  # noqa: N818
    """Training was asked to stop; a checkpoint holds everything so far."""


@dataclass(kw_only=True)
class Progress:
    """Where a training is; with the tensors, all that a checkpoint holds."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best: float | None = None
    since_best: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    num_batches: int = 0
    num_looked_up: int = 0
    """Of the batches, those whose frozen layers were looked up."""


@dataclass(kw_only=True)
class Training:
    """One graft to be trained.

    Args:
        base: The frozen base.
        graft: What is trained: all its values.
        plans: What is in force while it is trained. With several, each step takes one by chance, so that the graft
            learns to stand on each of them.
        grafts: The grafts that the plans name, by name.
        objective: What is minimised.
        settings: How.
        evaluate: Scores an attachment of the first plan on held-out data; larger is better. The best values are kept,
            the later of equally good ones.
        checkpoints: Where to save what is done so far.
        should_stop: Asked after every step; when true, a checkpoint is written and `Interrupted` raised.
        notify: Told sentences that a user should see.
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

    def __post_init__(self) -> None:
        """Freeze all but the graft, and plan the epochs."""
        for graft in self.grafts.values():
            graft.layers.requires_grad_(graft is self.graft)
        self.parameters = dict(self.graft.layers.named_parameters())
        head = [tensor for name, tensor in self.parameters.items() if name.startswith(f"{Head.kind}.")]
        others = [tensor for name, tensor in self.parameters.items() if not name.startswith(f"{Head.kind}.")]
        groups = [(others, 1.0), (head, self.settings.head_lr_factor)]
        self.optimiser = torch.optim.AdamW(
            [{"params": tensors, "factor": factor} for tensors, factor in groups if tensors],
            lr=self.settings.lr,
            weight_decay=self.settings.weight_decay,
            fused=True,
        )
        self.progress = Progress()
        self.memory = PeakMemory()
        self.best_tensors: dict[str, Tensor] = {}
        self.updates = self._plan()
        self.depth = count_layers_below(self.graft, num_layers=self.base.sites.num_layers)

    @property
    def total(self) -> int:
        """Number of steps."""
        return len(self.updates)

    def _plan(self) -> list[list[NDArray[np.int64]]]:
        """List the batches of each step."""
        settings, batches, epoch = self.settings, list[Any](), 0
        each = settings.accumulate
        while (
            epoch < settings.epochs
            if settings.epochs is not None
            else len(batches) < each * (settings.steps or 0)
        ):
            batches += self.objective.plan_epoch(
                batch_tokens=settings.batch_tokens, seed=settings.seed, epoch=epoch
            )
            epoch += 1
        return [batches[start : start + each] for start in range(0, len(batches), each)][: settings.steps]

    def run(self) -> Iterator[Step]:
        """Train, step by step; afterwards the graft holds its best values, the later of equally good ones.

        Raises:
            Interrupted: `should_stop` said so.
            TrainError: The loss is not a number, or a value of the graft gets no gradient.
        """
        self._resume()
        self.memory.begin()
        for number in range(self.progress.step, self.total):
            if self._is_done():
                break
            started = time.perf_counter()
            step = self._take(number, started)
            yield step
            if self.should_stop():
                self.save()
                raise Interrupted(self._say_stopped(step.number))
            if step.number % self.settings.checkpoint_every == 0:
                self.save()
        if self.best_tensors:
            self.graft.layers.load_state_dict(self.best_tensors)
        self.graft.layers.requires_grad_(False)
        if self.progress.best == 0 and self.objective.scores_can_be_zero:
            self.notify(self._say_nothing_right())

    def measure_cost(self) -> dict[str, float]:
        """Give what the training took so far.

        Returns:
            Seconds, tokens and their rate, peak memory, the share of padding among the tokens of all batches; with a
            cache also the share of the batches whose frozen layers were looked up, and the bytes that the cache holds.
        """
        progress, cache = self.progress, self.objective.cache
        lengths, batches = self.objective.lengths(), [rows for update in self.updates for rows in update]
        return {
            "seconds": progress.seconds,
            "tokens": float(progress.tokens),
            "tokens_per_second": progress.tokens / max(progress.seconds, 1e-9),
            **self.memory.measure(),
            "padding": padding_share(lengths, batches),
            **({} if cache is None else {"looked_up": progress.num_looked_up / max(1, progress.num_batches)}),
            **({} if cache is None else cache.measure()),
        }

    def _take(self, number: int, started: float) -> Step:
        plan = self.plans[self._choose(number)]
        lr = compute_lr(self.settings, step=number, total=self.total)
        self.optimiser.zero_grad(set_to_none=True)
        with attach(self.base, plan, grafts=self.grafts) as attachment:
            value, num_tokens = self._add_gradients(attachment, number, lr)
        if number == 0:
            self._check_gradients()
        self._update(lr)
        progress = self.progress
        progress.step = number + 1
        progress.tokens += num_tokens
        held_out = self._evaluate()
        progress.seconds += time.perf_counter() - started
        self._note_curve(value, held_out)
        return Step(
            number=number + 1,
            total=self.total,
            loss=value,
            lr=lr,
            plan=str(plan),
            num_tokens=num_tokens,
            seconds=progress.seconds,
            tokens=progress.tokens,
            held_out=held_out,
            is_best=held_out is not None and progress.since_best == 0,
            peak_memory_bytes=self.memory.read(),
        )

    def _add_gradients(self, attachment: Attachment, number: int, lr: float) -> tuple[float, int]:
        """Make the gradient of the mean over all targets of a step's batches; give that mean and the tokens."""
        batches = self.updates[number]
        total, num_targets, num_tokens, first = 0.0, 0, 0, 0
        for place, rows in enumerate(batches, start=number * self.settings.accumulate):
            loss = self.objective.compute_loss(
                attachment, rows, seed=self.settings.seed, step=place, depth=self.depth
            )
            value = float(loss.total.detach())
            if not math.isfinite(value):
                raise TrainError(
                    f"The loss of '{self.graft.name}' is {value} at step {number + 1} of {self.total}. Expected a "
                    f"number. Lower the learning rate (it is {lr:g}), and train again."
                )
            first = first or max(1, loss.num_targets)
            (loss.total / first).backward()
            total += value
            num_targets += loss.num_targets
            num_tokens += loss.num_tokens
            self.progress.num_batches += 1
            self.progress.num_looked_up += loss.looked_up
        if len(batches) > 1:
            # How many targets there are is known only now.
            for tensor in self.parameters.values():
                if tensor.grad is not None:
                    tensor.grad *= first / max(1, num_targets)
        return total / max(1, num_targets), num_tokens

    def _choose(self, number: int) -> int:
        if len(self.plans) == 1:
            return 0
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.settings.seed, number, 1])))
        return int(rng.integers(len(self.plans)))

    def _update(self, lr: float) -> None:
        if self.settings.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = lr * group["factor"]
        self.optimiser.step()

    def _check_gradients(self) -> None:
        without = [name for name, tensor in self.parameters.items() if tensor.grad is None]
        if without:
            raise TrainError(
                f"The value '{without[0]}' of '{self.graft.name}' gets no gradient ({len(without)} of "
                f"{len(self.parameters)} such): nothing that the loss reads depends on it. Leave its layer out with "
                "skip_layers, or read the masked-LM head further up."
            )

    def _evaluate(self) -> float | None:
        step, every = self.progress.step, self.settings.evaluate_every
        every = every or max(1, math.ceil(self.total / NUM_EVALUATIONS))
        if self.evaluate is None or (step % every and step != self.total):
            return None
        with torch.no_grad(), attach(self.base, self.plans[0], grafts=self.grafts) as attachment:
            score = self.evaluate(attachment)
        best = self.progress.best
        if best is None or score > best:
            self.progress.best, self.progress.since_best = score, 0
        else:
            self.progress.since_best += 1
        if best is None or score >= best:
            # Of equal scores the later has learned for longer: on few sentences, or while nothing is right yet, many
            # are equal.
            self.best_tensors = {name: tensor.clone() for name, tensor in self.graft.tensors().items()}
        return score

    def _is_done(self) -> bool:
        patience = self.settings.patience
        return patience is not None and self.progress.since_best >= patience

    def _note_curve(self, loss: float, held_out: float | None) -> None:
        step = self.progress.step
        every = max(1, self.total // 200)
        if held_out is not None or step % every == 0 or step in (1, self.total):
            point = {"step": float(step), "loss": loss}
            self.progress.curve.append(point if held_out is None else {**point, "dev": held_out})

    def _say_stopped(self, number: int) -> str:
        stopped = f"Training of '{self.graft.name}' was stopped after step {number} of {self.total}"
        if self.checkpoints is None:
            return f"{stopped}, and nothing of it was saved. Train with checkpoints to go on later."
        return f"{stopped}, and all of it is saved. Give the same command again to go on."

    def _say_nothing_right(self) -> str:
        settings = self.settings
        return (
            f"The best dev score of '{self.graft.name}' is 0: after {self.progress.step} steps none of the held-out "
            "entities or labels is right. Expected a score above 0. Train for more steps (more epochs, or a "
            f"smaller --batch-tokens than {settings.batch_tokens}), with a higher learning rate (--lr, it is "
            f"{settings.lr:g}), or with a head that learns faster (--head-lr-factor, it is "
            f"{settings.head_lr_factor:g}); in a recipe these are keys of [train.task]."
        )

    def save(self) -> None:
        """Write a checkpoint, if there is a place for it."""
        if self.checkpoints is not None:
            tensors = pack_tensors(self.graft, self.best_tensors, self.optimiser)
            self.checkpoints.save(self.progress.step, tensors, vars(self.progress))

    def _resume(self) -> None:
        state = None if self.checkpoints is None else self.checkpoints.load()
        if state is None:
            return
        for sentence in state.damaged:
            self.notify(sentence)
        if not state.facts:
            return
        known = {name: state.facts[name] for name in vars(self.progress) if name in state.facts}
        self.progress = Progress(**known)
        self.best_tensors = unpack_tensors(state.tensors, self.graft, self.optimiser)
        self.notify(
            f"Training of '{self.graft.name}' goes on after step {self.progress.step} of {self.total}."
        )
