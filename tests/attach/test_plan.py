from __future__ import annotations

import pytest

from polygraft.attach.plan import Named, Plan, check_names, list_names, stack
from polygraft.errors import PlanError


def test_a_plan_prints_as_it_is_written():
    assert str(stack("qu", Named("ner", 2))) == "stack(qu, ner@2)"
    assert str(stack("en", stack("qu", "ner"))) == "stack(en, stack(qu, ner))"


def test_the_grafts_of_a_plan_are_listed_from_below():
    assert [str(name) for name in list_names(stack("en", stack("qu", "ner")))] == ["en", "qu", "ner"]
    assert list_names(Named("ner")) == [Named("ner")]


def test_a_stack_of_nothing_is_refused():
    with pytest.raises(PlanError) as refusal:
        stack()
    assert str(refusal.value) == (
        "A stack has no member. Expected names of grafts, as in stack(qu, ner). Name at least one."
    )


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        (stack("qu", "qu", "ner"), "stack(qu, qu, ner)"),
        (stack("qu", stack("ner", Named("qu", 2))), "stack(qu, stack(ner, qu@2))"),
    ],
)
def test_a_plan_that_names_a_graft_twice_is_refused(plan: Plan, text: str):
    with pytest.raises(PlanError) as refusal:
        check_names(plan)
    assert str(refusal.value) == (
        f"The plan '{text}' names 'qu' 2 times. A graft acts once in a plan. Name each graft once."
    )
