"""What a method gives to be stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polygraft.attach.graft import copy_tensors, make_graft
from polygraft.parts.delta import Delta
from polygraft.parts.edit import VALUE_DTYPES
from polygraft.parts.mask import Mask
from polygraft.recipe.record import list_scores, record_training
from polygraft.recipe.spent import Spent, sum_spent

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.recipe.bench import Bench
    from polygraft.store.fields import JsonValue
    from polygraft.store.manifest import DataRecord, Manifest
    from polygraft.train.loop import Training


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A graft that is to be stored, and how it came about."""

    graft: Graft
    training: Training
    """The last training that its values went through."""
    spent: Spent
    """What all trainings took that its values went through."""
    digest: str
    """Of all that its values depend on."""
    name: str | None = None
    """What it is called, if not as the bench says."""
    score: float | None = None
    """Its score on held-out data, where it is not the training's best."""
    facts: Mapping[str, JsonValue] = dataclasses.field(default_factory=dict[str, "JsonValue"])
    """What the manifest tells beside the training's settings."""


def make_outcome(
    bench: Bench,
    graft: Graft,
    training: Training,
    *,
    dtype: str,
    is_scored: bool,
    facts: Mapping[str, JsonValue],
    digest: str,
    spent: Sequence[Spent] | None = None,
) -> Outcome:
    """Round a graft's values to the format they are stored in, and score what comes out if that is not known.

    Args:
        bench: Where it was trained.
        graft: The graft, trained.
        training: Its last training.
        dtype: Number format of the values that are stored.
        is_scored: Whether the training's best score is that of these values.
        facts: What the manifest is to tell.
        digest: Of all that the values depend on.
        spent: What the trainings took that the values went through; None means all of the bench so far.
    """
    stored = round_values(bench, graft, dtype=dtype)
    stored.layers.requires_grad_(False)
    is_known = is_scored and stored is graft
    return Outcome(
        graft=stored,
        training=training,
        spent=sum_spent(bench.spent if spent is None else spent),
        digest=digest,
        score=None if is_known else bench.score(stored),
        facts=facts,
    )


def round_values(bench: Bench, graft: Graft, *, dtype: str) -> Graft:
    """Give a graft whose values have a number format; the graft itself if they have it already."""
    parts = [
        dataclasses.replace(part, dtype=dtype) if isinstance(part, Delta | Mask) else part
        for part in graft.parts
    ]
    if parts == list(graft.parts):
        return graft
    rounded = make_graft(bench.base, graft.name, parts)
    own = rounded.layers.state_dict()
    copy_tensors(
        rounded,
        {
            name: tensor.to(own[name].dtype) if own[name].dtype in VALUE_DTYPES.values() else tensor
            for name, tensor in graft.tensors().items()
        },
    )
    return rounded


@dataclass(frozen=True, kw_only=True)
class Label:
    """What the manifests of the grafts that come out of one training tell, whatever made them."""

    objective: str
    """ "mlm", "causal", "tokens" or "sequence"."""
    data: Sequence[DataRecord]
    """The files that were used."""
    members: Sequence[Manifest]
    """The manifests of the grafts below."""
    further: Mapping[str, JsonValue]
    """Hyperparameters beside the training's settings."""


def record_outcome(outcome: Outcome, *, graft: Graft, name: str, label: Label, step: str) -> Manifest:
    """Write down how a graft came about, for the store.

    Args:
        outcome: What came out.
        graft: What is stored of it.
        name: What it is called in the store.
        label: What the manifest tells beside it.
        step: Digest of all that the values depend on.
    """
    manifest = record_training(
        outcome.training,
        graft=graft,
        objective=label.objective,
        data=label.data,
        members=label.members,
        step=step,
        spent=outcome.spent,
        scores=None if outcome.score is None else list_scores(outcome.score, label.objective),
        further={**label.further, **outcome.facts},
    )
    return dataclasses.replace(manifest, name=name)
