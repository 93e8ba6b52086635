"""Plans from text: every plan that is printed can be read, and every other text is refused with a "
"sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polygraft.attach.parse import EXAMPLE, parse_plan, parse_way
from polygraft.attach.plan import NO_GRAFT, Average, Fuse, Named, Parallel, Plan, Route, Stack
from polygraft.errors import PlanError

NAMES = st.builds(
    Named,
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,12}", fullmatch=True).filter(lambda name: name != NO_GRAFT),
    st.none() | st.integers(0, 999),
)


@st.composite
def draw_average(draw: st.DrawFn, plans: st.SearchStrategy[Plan]) -> Plan:
    members = tuple(draw(st.lists(plans, min_size=1, max_size=3)))
    weights = None
    if draw(st.booleans()):
        own = [draw(st.floats(0, 1e6)) for _ in members]
        weights = (
            tuple(each / sum(own) for each in own) if sum(own) > 1e-6 else (-0.0,) * (len(own) - 1) + (1.0,)
        )
    return Average(members, weights, draw(st.sampled_from(("parameters", "outputs"))))


def draw_form(plans: st.SearchStrategy[Plan]) -> st.SearchStrategy[Plan]:
    members = st.lists(plans, min_size=1, max_size=3).map(tuple)
    return (
        st.builds(Stack, members)
        | st.builds(Fuse, members, NAMES)
        | st.builds(Parallel, members)
        | draw_average(plans)
    )


INNER = st.recursive(NAMES, draw_form, max_leaves=8)
PLANS = INNER | st.builds(Route, st.lists(st.none() | INNER, min_size=1, max_size=3).map(tuple))


@given(PLANS)
def test_a_printed_plan_is_read_as_it_was(plan: Plan):
    assert parse_plan(str(plan)) == plan


@given(st.text() | st.text(alphabet="stack(),ner @0-.9", max_size=40))
def test_any_other_text_is_a_plan_error(text: str):
    try:
        plan = parse_plan(text)
    except PlanError as error:
        assert str(error).endswith(EXAMPLE)
    else:
        assert parse_plan(str(plan)) == plan


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("ner", Named("ner")),
        (" ner@2\n", Named("ner", 2)),
        ("stack", Named("stack")),
        ("stack(qu,ner )", Stack((Named("qu"), Named("ner")))),
        ("stack(stack(a), b@7)", Stack((Stack((Named("a"),)), Named("b", 7)))),
        ("average(ner@1, ner@2)", Average((Named("ner", 1), Named("ner", 2)))),
        ("fuse(en@1, en@2, by=mix@3)", Fuse((Named("en", 1), Named("en", 2)), Named("mix", 3))),
        ("route(ner@1, none, ner)", Route((Named("ner", 1), None, Named("ner")))),
    ],
)
def test_spaces_versions_and_stacks_in_stacks_are_read(text: str, plan: Plan):
    assert parse_plan(text) == plan


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The plan '' ends where a graft's name was expected."),
        ("stack(", "The plan 'stack(' ends where a graft's name was expected."),
        ("stack()", "The plan 'stack()' has ')' where a graft's name was expected."),
        ("stack(qu,)", "The plan 'stack(qu,)' has ')' where a graft's name was expected."),
        ("stack(qu", "The plan 'stack(qu' ends where a comma or a closing bracket was expected."),
        (
            "stack(qu ner)",
            "The plan 'stack(qu ner)' has 'ner' where a comma or a closing bracket was expected.",
        ),
        ("qu ner", "The plan 'qu ner' goes on after its end with 'ner'."),
        ("qu + ner", "The plan 'qu + ner' has '+' where a name, a bracket or a comma was expected."),
        (
            "stak(qu, ner)",
            "The plan 'stak(qu, ner)' uses 'stak(...)'. Known forms are stack, fuse, average, parallel, route. "
            "Did you mean 'stack'?",
        ),
    ],
)
def test_a_text_that_is_no_plan_is_refused_with_a_sentence(text: str, message: str):
    with pytest.raises(PlanError) as refusal:
        parse_plan(text)
    assert str(refusal.value) == f"{message} {EXAMPLE}"


def test_stacks_in_stacks_without_end_are_refused():
    with pytest.raises(PlanError) as refusal:
        parse_plan("stack(" * 5000)
    assert str(refusal.value) == (
        f"The plan has forms in forms more than 20 deep. Expected a few at most. {EXAMPLE}"
    )


def test_a_version_of_thousands_of_digits_is_refused():
    with pytest.raises(PlanError, match="goes on after its end"):
        parse_plan("ner@" + "9" * 5000)


def test_no_graft_is_written_as_such():
    assert parse_way(" none ") is None
    assert parse_way("ner") == Named("ner")


@pytest.mark.parametrize(
    ("text", "key", "form", "values"),
    [
        (
            "average(a, b, weights=0.3:0.7, weights=0.5:0.5)",
            "weights",
            "average",
            ("0.3:0.7", "0.5:0.5"),
        ),
        ("average(a, b, of=outputs, of=outputs)", "of", "average", ("outputs", "outputs")),
        ("fuse(en, qu, by=mix, by=mix@2)", "by", "fuse", ("mix", "mix@2")),
    ],
)
def test_what_is_given_twice_is_said_to_be(text: str, key: str, form: str, values: tuple[str, str]):
    with pytest.raises(PlanError) as refusal:
        parse_plan(text)
    assert str(refusal.value) == (
        f"The plan '{text}' gives '{key}=' twice in {form}(...): {key}={values[0]} and {key}={values[1]}. Expected it "
        "once. Leave out one of the two."
    )


def test_the_same_key_in_two_forms_is_given_once_in_each():
    plan = parse_plan("average(average(a, b, of=parameters), c, of=parameters)")
    assert plan == Average((Average((Named("a"), Named("b"))), Named("c")))
