"""Training over averages of frozen grafts."""

from __future__ import annotations

from typing import Any

import pytest
from tests.tiny import make_base, make_trained_graft
from tests.train.material import LABELS, make_training, run

from polygraft.attach import arithmetic
from polygraft.attach.graft import Graft, make_graft
from polygraft.attach.plan import Average, Named, Plan, Stack
from polygraft.base.base import Base
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.presets import task_graft


def test_training_over_an_average_is_that_over_the_mean_and_works_it_out_once(
    monkeypatch: pytest.MonkeyPatch,
):
    base = make_base("bert")
    a, b = (make_trained_graft(base, name, (Bottleneck(reduction=2),), seed=n) for n, name in enumerate("ab"))

    def train(plan: Plan, *below: Graft) -> list[float]:
        graft = make_graft(base, "new", task_graft(labels=LABELS), seed=4)
        grafts = {each.name: each for each in (*below, graft)}
        plans = [Stack((plan, Named("new")))]
        return [step.loss for step in run(make_training(base=base, graft=graft, plans=plans, grafts=grafts))]

    expected = train(Named("mean"), arithmetic.average_grafts(base, "mean", [a, b]))
    made: list[str] = []
    average_grafts = arithmetic.average_grafts

    def count(base: Base, name: str, *args: Any) -> Graft:
        made.append(name)
        return average_grafts(base, name, *args)

    monkeypatch.setattr(arithmetic, "average_grafts", count)
    assert train(Average((Named("a"), Named("b"))), a, b) == expected
    assert made == ["average(a, b)"]
    assert expected != train(Named("a"), a)
