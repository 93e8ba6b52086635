"""Averages that are worked out once: the same graft as one that a plan makes anew, and no other."""

from __future__ import annotations

import pytest
import torch
from tests.attach.summed import assert_equal
from tests.tiny import make_base, make_trained_graft

from polygraft.attach.arithmetic import average_grafts
from polygraft.attach.attach import attach
from polygraft.attach.averages import work_out_averages
from polygraft.attach.graft import Graft
from polygraft.attach.parse import parse_plan
from polygraft.base.base import Base
from polygraft.errors import PlanError
from polygraft.parts.bottleneck import Bottleneck


@pytest.fixture(scope="module")
def base() -> Base:
    return make_base("bert")


@pytest.fixture(scope="module")
def grafts(base: Base) -> dict[str, Graft]:
    part = Bottleneck(reduction=2)
    return {name: make_trained_graft(base, name, (part,), seed=n) for n, name in enumerate(("a", "b", "new"))}


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        ("stack(average(a, b), new)", ["average(a, b)"]),
        ("stack(average(average(a, b), a), new)", ["average(average(a, b), a)"]),
        ("stack(average(a, b, of=outputs), new)", []),
        ("stack(a, average(b, new))", []),
        ("route(stack(average(a, b, weights=0.25:0.75), new), none)", ["average(a, b, weights=0.25:0.75)"]),
        ("new", []),
    ],
)
def test_frozen_averages_of_parameters_are_found(
    base: Base, grafts: dict[str, Graft], plan: str, expected: list[str]
):
    assert list(work_out_averages(base, [parse_plan(plan)], grafts, learned=grafts["new"])) == expected


def test_a_plan_takes_what_was_worked_out(base: Base, grafts: dict[str, Graft]):
    plan = parse_plan("stack(average(a, b, weights=0.25:0.75), new)")
    made = work_out_averages(base, [plan], grafts, learned=grafts["new"])
    [(key, mean)] = made.items()
    expected = average_grafts(base, key, [grafts["a"], grafts["b"]], [0.25, 0.75])
    assert_equal(mean.tensors(), expected.tensors())
    ids = torch.randint(5, 20, (2, 6), generator=torch.Generator().manual_seed(0))
    with attach(base, plan, grafts=grafts) as attachment:
        anew = attachment.run(ids, torch.ones_like(ids))
    with attach(base, plan, grafts={**grafts, **made}) as attachment:
        assert mean in attachment.grafts
        assert torch.equal(attachment.run(ids, torch.ones_like(ids)), anew)


def test_an_average_of_stacks_is_refused(base: Base, grafts: dict[str, Graft]):
    with pytest.raises(PlanError, match="averages the parameters of whole stacks"):
        work_out_averages(
            base, [parse_plan("stack(average(stack(a, b), b), new)")], grafts, learned=grafts["new"]
        )
