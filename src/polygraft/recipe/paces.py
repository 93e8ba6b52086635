"""How fast each kind of work of a run goes on this machine: each kind is rehearsed once."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from polygraft.attach.attach import attach
from polygraft.attach.graft import make_graft
from polygraft.attach.plan import Plan, stack_names
from polygraft.errors import PolygraftError
from polygraft.recipe.corpus import take_rows
from polygraft.recipe.drafts import count_values
from polygraft.recipe.objectives import make_held_out_loss, make_text_objective, score_examples
from polygraft.recipe.rehearse import (
    Pace,
    Rates,
    measure_rates,
    rehearse_scores,
    rehearse_updates,
    split_sizes,
    warm_up,
)
from polygraft.train.labels import Labelling
from polygraft.train.loop import Training
from polygraft.train.memory import read_free
from polygraft.train.prefix import PrefixCache
from polygraft.train.processes import join_processes

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base
    from polygraft.data.encode import EncodedText
    from polygraft.parts.part import Part
    from polygraft.recipe.volume import LabelSample, TextSample
    from polygraft.train.causal import CausalLm
    from polygraft.train.mlm import MaskedLm
    from polygraft.train.objective import Objective
    from polygraft.train.settings import TrainSettings

Parts = tuple["Part", ...]
Stacked = Sequence[Parts]
"""The parts of grafts that stand one over the other, the lowest first."""

TRAINED = "trained"
BYTES_PER_VALUE = 24
"""Of a trained value while it is rehearsed: itself, its gradient, the optimiser's two, and the weight that it changes,
once as it was and once for the change."""
FREE_SHARE = 0.8
"""Of the machine's free memory, what a rehearsal may take."""


@dataclass(kw_only=True)
class Paces:
    """The kinds of work that were rehearsed so far.

    Args:
        base: The frozen base.
        most_seconds: After so many seconds of rehearsals no other begins; None is no limit.
    """

    base: Base
    most_seconds: float | None = None
    num_left: int = 0
    """Kinds of work that were not tried because that time was over."""
    _spent: float = 0.0
    _known: dict[Hashable, Pace | None] = field(default_factory=dict)
    _counts: dict[Parts, int] = field(default_factory=dict)
    _rates: Rates | None = None

    def __post_init__(self) -> None:
        """Join the processes that rehearse together."""
        self.processes = join_processes(self.base.device)

    @property
    def rates(self) -> Rates:
        """How fast values are written down."""
        if self._rates is None:
            self._rates = measure_rates()
        return self._rates

    def count_values(self, parts: Parts) -> int:
        """Count the values of a graft of some parts."""
        if parts not in self._counts:
            self._counts[parts] = count_values(self.base, parts)
        return self._counts[parts]

    def find_text_update(
        self, parts: Parts, below: Stacked, sample: TextSample, *, settings: TrainSettings, **scored: Any
    ) -> Pace | None:
        """Tell what an update on text takes; None where it cannot be tried.

        Args:
            parts: What is trained.
            below: What stands below it.
            sample: Some of the text.
            settings: How it is trained.
            scored: Which pieces are scored, as `make_scored_objective` takes it.
        """

        def rehearse() -> Pace:
            objective = make_scored_objective(self.base, sample, **scored)
            return self._rehearse(parts, below, objective, settings)

        kind = ("text", settings.batch_tokens, settings.dropout, _describe(scored), *_count(sample.encoded))
        return self._find((*kind, parts, tuple(below)), parts, rehearse)

    def find_label_update(
        self,
        parts: Parts,
        below: Stacked,
        sample: LabelSample,
        *,
        settings: TrainSettings,
        looks_up: bool,
    ) -> Pace | None:
        """Tell what an update on labels takes; None where it cannot be tried.

        Args:
            parts: What is trained, a head among it.
            below: What stands below it.
            sample: Some of the data.
            settings: How it is trained.
            looks_up: Whether what frozen layers give is looked up.
        """

        def rehearse() -> Pace:
            cache = PrefixCache() if looks_up else None
            objective = Labelling(sample.objective.data, cache=cache)
            return self._rehearse(parts, below, objective, settings, looks_up=looks_up)

        lengths = sample.objective.lengths().tobytes()
        kind = ("labels", settings.batch_tokens, looks_up, settings.dropout, lengths)
        return self._find((*kind, parts, tuple(below)), parts, rehearse)

    def find_label_scores(self, parts: Parts, below: Stacked, sample: LabelSample) -> Pace | None:
        """Tell what scoring labelled examples takes; None where it cannot be tried.

        Args:
            parts: A graft with a head.
            below: What stands below it.
            sample: Some of the examples.
        """

        def rehearse() -> Pace:
            sizes, lengths = split_sizes(len(sample.examples)), sample.objective.lengths()
            plan, grafts = self._stack(parts, below)

            def work(size: int) -> float:
                chosen: Any = sample.examples[: sizes[size]]
                with attach(self.base, plan, grafts=grafts) as attachment:
                    score_examples(attachment, chosen, task=TRAINED, language="", condition="")
                return float(lengths[: sizes[size]].sum())

            return rehearse_scores(work)

        kind = ("scores", sample.objective.lengths()[:64].tobytes())
        return self._find((*kind, parts, tuple(below)), parts, rehearse)

    def find_text_scores(
        self, parts: Parts, below: Stacked, sample: TextSample, *, seed: int, **scored: Any
    ) -> Pace | None:
        """Tell what the loss on text takes; None where it cannot be tried.

        Args:
            parts: A graft.
            below: What stands below it.
            sample: Some of the text.
            seed: Chooses the pieces that are hidden.
            scored: Which pieces are scored, as `make_scored_objective` takes it.
        """

        def rehearse() -> Pace:
            objective = make_scored_objective(self.base, sample, **scored)
            texts = [
                take_rows(sample.sentences, np.arange(count, dtype=np.int64))
                for count in split_sizes(sample.sentences.num_rows)
            ]
            works = [make_held_out_loss(self.base, objective, text, seed=seed) for text in texts]
            plan, grafts = self._stack(parts, below)

            def work(size: int) -> float:
                with torch.no_grad(), attach(self.base, plan, grafts=grafts) as attachment:
                    works[size](attachment)
                return float(texts[size].num_tokens)

            return rehearse_scores(work)

        kind = ("losses", _describe(scored), *_count(sample.sentences))
        return self._find((*kind, parts, tuple(below)), parts, rehearse)

    def _find(self, key: Hashable, parts: Parts, rehearse: Callable[[], Pace]) -> Pace | None:
        if not self._known:
            warm_up(self.base)
        if key not in self._known:
            free = read_free()
            needed = BYTES_PER_VALUE * self.count_values(parts)
            lacks_memory = free is not None and needed >= FREE_SHARE * free
            is_late = self.most_seconds is not None and self._spent >= self.most_seconds
            # Of several processes, all try or none does.
            is_late = self.processes.agree(on=is_late)
            is_possible = not self.processes.agree(on=lacks_memory) and not is_late
            self.num_left += is_late
            started = time.perf_counter()
            try:
                self._known[key] = rehearse() if is_possible else None
            except PolygraftError:
                # The step itself will say what is wrong, and of which graft.
                self._known[key] = None
            self._spent += time.perf_counter() - started
        return self._known[key]

    def _rehearse(
        self,
        parts: Parts,
        below: Stacked,
        objective: Objective,
        settings: TrainSettings,
        *,
        looks_up: bool = False,
    ) -> Pace:
        plan, grafts = self._stack(parts, below)
        training = Training(
            base=self.base,
            graft=grafts[TRAINED],
            plans=[plan],
            grafts=grafts,
            objective=objective,
            # Compiling takes minutes, and makes what follows faster than it is told here.
            settings=dataclasses.replace(settings, compile=False, patience=None),
        )
        return rehearse_updates(training, looks_up=looks_up)

    def _stack(self, parts: Parts, below: Stacked) -> tuple[Plan, dict[str, Graft]]:
        """Make scratch grafts and the plan that stacks them."""
        grafts = {
            f"below-{place}": make_graft(self.base, f"below-{place}", each)
            for place, each in enumerate(below)
        }
        for graft in grafts.values():
            graft.layers.requires_grad_(False)
        grafts[TRAINED] = make_graft(self.base, TRAINED, parts)
        return stack_names(list(grafts)), grafts


def make_scored_objective(
    base: Base,
    sample: TextSample,
    *,
    vocabulary: Any,
    masking: Any,
    scores_all_pieces: bool,
    num_negatives: int,
) -> MaskedLm | CausalLm:
    """Make the objective of guessing the pieces of a sample as if it were the whole text.

    Args:
        base: The base.
        sample: Some lines.
        vocabulary: The pieces that the whole text is likely to have.
        masking: How many pieces are hidden.
        scores_all_pieces: Whether all pieces are scored.
        num_negatives: How many others are scored beside the vocabulary.
    """
    objective = make_text_objective(
        base,
        sample.encoded,
        masking=masking,
        scores_all_pieces=scores_all_pieces,
        num_negatives=num_negatives,
    )
    if objective.vocabulary is not None:
        objective.vocabulary = vocabulary
    return objective


def _count(text: EncodedText) -> tuple[int, int]:
    return text.num_rows, text.num_tokens


def _describe(scored: Mapping[str, Any]) -> Hashable:
    """Give what tells kinds of scoring apart: vocabularies whose sizes differ by less than a fifth take alike."""
    size = len(scored["vocabulary"])
    rounded = round(math.log(max(1, size), 1.2))
    return (rounded, scored["masking"], scored["scores_all_pieces"], scored["num_negatives"])
