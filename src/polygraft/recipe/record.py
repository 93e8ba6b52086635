"""What a manifest says of a graft that was trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from polygraft.recipe.spent import Spent, measure_spent
from polygraft.recipe.workshop import list_versions
from polygraft.store.manifest import BaseRecord, DataRecord, Manifest, MemberRecord, PartRecord
from polygraft.types import TEXT_OBJECTIVES, TextRows

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.store.fields import JsonValue
    from polygraft.train.loop import Training

NOTHING: Mapping[str, JsonValue] = MappingProxyType({})


def record_training(
    training: Training,
    *,
    graft: Graft,
    objective: str,
    data: Sequence[DataRecord],
    members: Sequence[Manifest],
    step: str,
    spent: Spent | None = None,
    scores: Mapping[str, float] | None = None,
    further: Mapping[str, JsonValue] = NOTHING,
) -> Manifest:
    """Write down how a graft was trained, for the store.

    Args:
        training: The training, at its end.
        graft: What is stored: the trained graft, or one made of it.
        objective: "mlm", "causal", "tokens" or "sequence".
        data: The files that were used.
        members: The manifests of the other grafts of the plan.
        step: Digest of all that the values depend on.
        spent: What it took, where other trainings went before this one.
        scores: Scores of what is stored, where these are not the training's best.
        further: Hyperparameters beside the training's settings.
    """
    base, progress = training.base, training.progress
    spent = measure_spent(training) if spent is None else spent
    settings = {
        key: value for key, value in dataclasses.asdict(training.settings).items() if value is not None
    }
    return Manifest(
        name=graft.name,
        parts=tuple(PartRecord(kind=part.kind, options=part.to_options()) for part in graft.parts),
        base=BaseRecord(name=base.name, fingerprint=base.fingerprint, revision=base.revision),
        tokenizer=base.tokenizer_fingerprint,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        trained_under=str(training.plans[0]),
        members=tuple(
            MemberRecord(name=member.name, version=member.version, sha256=member.sha256) for member in members
        ),
        objective=objective,
        data=tuple(data),
        hyperparameters={
            **settings,
            "processes": training.processes.launch.count,
            "steps_done": spent.steps,
            "plans": [str(plan) for plan in training.plans],
            **further,
        },
        scores=list_scores(progress.best, objective) if scores is None else scores,
        curve=tuple(_orient(point, objective) for point in progress.curve),
        cost=spent.cost,
        versions=list_versions(),
        step=step,
    )


def describe_text(rows: TextRows, vocabulary: str, negatives: int) -> dict[str, JsonValue]:
    """Give which rows a language graft learned from and which pieces it was scored on, as hyperparameters.

    Args:
        rows: "sentences" or "joined".
        vocabulary: "corpus" or "full".
        negatives: How many other pieces are scored beside those of the text; none beside "full".
    """
    return {"rows": rows, "vocabulary": vocabulary, "negatives": 0 if vocabulary == "full" else negatives}


def list_scores(best: float | None, objective: str) -> dict[str, float]:
    """Give a score on held-out data as manifests tell it: a loss of guessed pieces, or a score of labels."""
    if best is None:
        return {}
    return {"held_out_loss": -best} if objective in TEXT_OBJECTIVES else {"dev": best}


def _orient(point: Mapping[str, float], objective: str) -> Mapping[str, float]:
    """Turn a held-out score of guessed pieces back into a loss."""
    return {**point, "dev": -point["dev"]} if objective in TEXT_OBJECTIVES and "dev" in point else point
