from __future__ import annotations

import pytest

from polygraft.attach.parse import parse_plan
from polygraft.attach.plan import Named, Plan, check_names, fuse, list_names, stack
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
    ("plan", "text", "name"),
    [
        (stack("qu", "qu", "ner"), "stack(qu, qu, ner)", "qu"),
        (stack(Named("qu", 2), stack("ner", Named("qu", 2))), "stack(qu@2, stack(ner, qu@2))", "qu@2"),
        (fuse("a", "mix", by="mix"), "fuse(a, mix, by=mix)", "mix"),
    ],
)
def test_a_plan_that_names_a_graft_twice_is_refused(plan: Plan, text: str, name: str):
    with pytest.raises(PlanError) as refusal:
        check_names(plan)
    assert str(refusal.value) == (
        f"The plan '{text}' names '{name}' 2 times. A graft acts once in a plan. Name each graft once."
    )


@pytest.mark.parametrize(
    "text", ["average(ner@1, ner@2)", "stack(ner, ner@1)", "fuse(en@1, en@2, by=mix)", "route(a, a)"]
)
def test_versions_of_a_name_and_rows_may_meet(text: str):
    check_names(parse_plan(text))
