"""What the store is told of a training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.store.made import MANIFEST
from tests.train.material import make_training, run

from polygraft.attach.attach import Attachment
from polygraft.recipe.record import record_training
from polygraft.store.manifest import DataRecord, MemberRecord
from polygraft.store.store import Store

DATA = [DataRecord(name="train", sha256="cd" * 32, num_examples=30)]


def count_up() -> Callable[[Attachment], float]:
    asked: list[float] = []
    return lambda attachment: asked.append(1) or len(asked) - 5.0


@pytest.mark.parametrize(
    ("objective", "scores", "first"),
    [("mlm", {"held_out_loss": -5.0}, 4.0), ("tokens", {"dev": 5.0}, -4.0)],
)
def test_a_held_out_score_of_text_is_told_as_a_loss(
    tmp_path: Path, objective: str, scores: dict[str, float], first: float
):
    training = make_training(objective, evaluate=count_up())
    steps = run(training)
    found = record_training(
        training,
        graft=training.graft,
        objective=objective,
        data=DATA,
        members=[replace(MANIFEST, version=7, sha256="ab" * 32)],
        step="e5" * 32,
        further={"strength": 0.5},
    )
    assert found.scores == scores
    assert [point["loss"] for point in found.curve] == [step.loss for step in steps]
    assert found.curve[0]["dev"] == first
    assert (found.objective, found.trained_under, found.data) == (objective, "new", tuple(DATA))
    assert found.members == (MemberRecord(name="ner", version=7, sha256="ab" * 32),)
    settings = {key: value for key, value in vars(training.settings).items() if value is not None}
    assert found.hyperparameters == {
        **settings,
        "processes": 1,
        "steps_done": 10,
        "plans": ["new"],
        "strength": 0.5,
    }
    assert "epochs" not in found.hyperparameters
    stored = Store(tmp_path).put(found, training.graft.tensors())
    assert (stored.parts, stored.base.fingerprint) == (found.parts, training.base.fingerprint)


def test_without_held_out_data_there_is_no_score_unless_one_is_given():
    training = make_training()
    run(training)
    facts = {"graft": training.graft, "objective": "tokens", "data": [], "members": [], "step": "e5" * 32}
    assert record_training(training, **facts).scores == {}
    assert record_training(training, **facts, scores={"dev": 0.25}).scores == {"dev": 0.25}
