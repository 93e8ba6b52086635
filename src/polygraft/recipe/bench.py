"""Where methods that train in several phases do their work: the data, the grafts below, and one training a phase."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from polygraft.attach.attach import attach
from polygraft.attach.graft import copy_tensors, make_graft, measure_base
from polygraft.attach.piece_loss import refuse_learned_decoder
from polygraft.attach.sparse import find_edit, make_mask
from polygraft.parts.mask import Mask, MaskLayers
from polygraft.recipe.spent import Spent, measure_spent
from polygraft.settings import load_launch
from polygraft.train.checkpoint import Checkpoints
from polygraft.train.loop import Training
from polygraft.train.updates import plan_updates
from polygraft.types import TEXT_OBJECTIVES

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.attach.attach import Attachment
    from polygraft.attach.graft import Graft
    from polygraft.attach.plan import Plan
    from polygraft.base.base import Base
    from polygraft.parts.head import Head
    from polygraft.parts.part import Part
    from polygraft.recipe.methods import Method
    from polygraft.train.objective import Objective
    from polygraft.train.settings import TrainSettings
    from polygraft.train.step import Step

HEAD = "head."
"""What the names of a head's tensors begin with."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A phase of a training begins."""

    title: str
    """What it does, for a reader."""
    name: str
    """What it is called beside a bar."""


def do_nothing(number: int) -> None:
    """Do nothing before a step."""


@dataclass(kw_only=True)
class Bench:
    """What the phases of one graft's training have in common.

    Each phase ends with a checkpoint that stays until `clear`, so that a training that was stopped in a later phase
    goes on there.
    """

    base: Base
    name: str
    """Of the graft that comes out in the end, and of those that are trained on the way."""
    below: Mapping[str, Graft]
    """The frozen grafts that plans name."""
    plans: Sequence[Plan]
    """What is in force while it is trained, as for `Training`."""
    objective: Objective
    settings: TrainSettings
    evaluate: Callable[[Attachment], float] | None
    head: Head | None
    """The head that is trained with the graft, if any."""
    skip_layers: tuple[int, ...]
    """Layers in which the graft may have nothing."""
    folder: Path
    """Where checkpoints are."""
    key: str
    """Digest of all that the values depend on."""
    should_stop: Callable[[], bool]
    notify: Callable[[str], None]
    start: Graft | None = None
    """The graft from whose values this one goes on, for methods that do so."""
    phases: list[Checkpoints] = field(default_factory=list)
    spent: list[Spent] = field(default_factory=list)
    """What the trainings took so far, in their order."""

    @property
    def further_parts(self) -> list[Part]:
        """What the graft has beside the part that changes weights."""
        return [] if self.head is None else [self.head]

    def make_graft(self, part: Part, *more: Part) -> Graft:
        """Make a fresh graft with a part that changes weights, and its head."""
        return make_graft(self.base, self.name, [part, *more, *self.further_parts], seed=self.settings.seed)

    def copy(self, graft: Graft, tensors: Mapping[str, Tensor]) -> Graft:
        """Make a graft of the same parts with other values."""
        other = make_graft(self.base, self.name, graft.parts)
        copy_tensors(other, tensors)
        return other

    def find_shapes(self, method: Method) -> dict[str, tuple[int, ...]]:
        """Give the shapes of the weights that a method is about, by name.

        Raises:
            OptionError: Nothing is of the kind that it names, or what scores the pieces that are guessed is.
        """
        shapes = find_shapes(self.base, method, skip_layers=self.skip_layers)
        words = self.base.sites.word_embeddings.weight
        name = next(name for name, weight in self.base.model.named_parameters() if weight is words)
        if name in shapes and self.objective.name in TEXT_OBJECTIVES:
            raise refuse_learned_decoder(self.name, name)
        return shapes

    def count_steps(self) -> int:
        """Count the updates of a phase."""
        count = load_launch().count
        return len(plan_updates(self.objective, self.settings, num_processes=count))

    def digest(self, *facts: object) -> str:
        """Give the digest of all that the values depend on, and of something more."""
        return hash_facts(self.key, *facts)

    def open_checkpoints(self, phase: str, *facts: object) -> Checkpoints:
        """Give a place for what one phase leaves."""
        checkpoints = Checkpoints(self.folder / phase, key=self.digest(phase, *facts))
        self.phases.append(checkpoints)
        return checkpoints

    def train(
        self,
        graft: Graft,
        *,
        phase: str,
        facts: Sequence[object] = (),
        chooses: bool = True,
        penalty: Callable[[], Tensor] | None = None,
        prepare: Callable[[int], None] = do_nothing,
        lr_factors: Mapping[str, float] | None = None,
    ) -> Generator[Step, None, Training]:
        """Train a graft in one phase, telling every update; give the training in the end.

        Args:
            graft: What is trained.
            phase: A name for its checkpoints.
            facts: What its values depend on beside the bench's own.
            chooses: Whether the values that score best on held-out data are kept, instead of the last ones.
            penalty: What is added to the loss for the graft's values alone.
            prepare: Told the number of each step before it.
            lr_factors: What the learning rate of parts is multiplied by.
        """
        training = Training(
            base=self.base,
            graft=graft,
            plans=self.plans,
            grafts={**self.below, self.name: graft},
            objective=self.objective,
            settings=self.settings,
            evaluate=self.evaluate if chooses else None,
            checkpoints=self.open_checkpoints(phase, *facts),
            should_stop=self.should_stop,
            notify=self.notify,
            penalty=penalty,
            prepare=prepare,
            lr_factors=lr_factors or {},
        )
        yield from training.run()
        training.save()
        self.spent.append(measure_spent(training))
        return training

    def score(self, graft: Graft) -> float | None:
        """Score a graft on held-out data, as the training does; None without any."""
        if self.evaluate is None:
            return None
        with (
            torch.no_grad(),
            attach(self.base, self.plans[0], grafts={**self.below, self.name: graft}) as attachment,
        ):
            return self.evaluate(attachment)

    def orient(self, score: float) -> float:
        """Give a score as manifests tell it: a held-out loss is not negative there."""
        return -score if self.objective.name in TEXT_OBJECTIVES else score

    def clear(self) -> None:
        """Remove what the phases left: the graft is stored."""
        # Of several processes, the first one clears up for all.
        if not load_launch().is_first:
            return
        for checkpoints in self.phases:
            checkpoints.clear()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def hash_facts(key: str, *facts: object) -> str:
    """Give the digest of a digest and of something more that can be written as JSON."""
    return hashlib.sha256(json.dumps([key, *facts], sort_keys=True).encode()).hexdigest()


def make_dense(bench: Bench, method: Method) -> Graft:
    """Make a graft in which all weights that a method is about survive, with the base's values to begin with."""
    graft = bench.make_graft(Mask(weights=method.weights, skip_layers=bench.skip_layers, retrained="all"))
    layers = find_edit(graft, MaskLayers)
    weights = dict(bench.base.model.named_parameters())
    assert layers.values is not None
    with torch.no_grad():
        layers.values.copy_(torch.cat([weights[name].float().flatten() for name in layers.names]))
    return graft


def make_pruned(
    bench: Bench,
    method: Method,
    kept: Mapping[str, Tensor],
    values: Mapping[str, Tensor],
    *,
    head: Mapping[str, Tensor],
) -> Graft:
    """Make a graft in which some weights survive, with values for them.

    Args:
        bench: Where it is trained.
        method: Says which weights it is about.
        kept: Which of them survive.
        values: What they are, dense.
        head: Tensors by name, the head's among them.
    """
    pruned = make_mask(
        bench.base,
        bench.name,
        kept,
        weights=method.weights,
        skip_layers=bench.skip_layers,
        values=values,
        others=bench.further_parts,
        seed=bench.settings.seed,
    )
    copy_head(head, pruned)
    return pruned


def find_shapes(base: Base, method: Method, *, skip_layers: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Give the shapes of the weights of a base that a method is about, by name.

    Args:
        base: The base.
        method: Says which weights it is about.
        skip_layers: Layers left out.

    Raises:
        OptionError: Nothing is of the kind that the method names.
    """
    part = Mask(weights=method.weights, skip_layers=skip_layers)
    return {info.name: info.shape for info in part.find_weights(measure_base(base))}


def count_weights(shapes: Mapping[str, Sequence[int]]) -> int:
    """Count the numbers of weights by their shapes."""
    return sum(math.prod(shape) for shape in shapes.values())


def pick_head(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give copies of the tensors that belong to a head."""
    return {name: tensor.clone() for name, tensor in tensors.items() if name.startswith(HEAD)}


def copy_head(source: Mapping[str, Tensor], target: Graft) -> None:
    """Give a graft the head's values among some tensors.

    Args:
        source: Tensors by name; those of other parts are left alone.
        target: A graft with the same head, or without one.
    """
    own = target.layers.state_dict()
    with torch.no_grad():
        for name, tensor in source.items():
            if name.startswith(HEAD) and name in own:
                own[name].copy_(tensor)
