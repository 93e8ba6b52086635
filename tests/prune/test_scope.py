from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polygraft.errors import OptionError
from polygraft.prune.scope import Scope, check_selection, count_kept, parse_scope, row_width

SHAPES = {"a": (4, 6), "b": (8,)}


@given(
    st.one_of(
        st.sampled_from(["global", "tensor", "row"]), st.tuples(st.integers(0, 9999), st.integers(0, 9999))
    )
)
def test_a_scope_is_printed_as_it_is_read(given_scope):
    text = given_scope if isinstance(given_scope, str) else "{}:{}".format(*given_scope)
    assert str(parse_scope(text)) == text
    assert parse_scope(str(parse_scope(text))) == parse_scope(text)


def test_n_of_m_is_read():
    assert parse_scope("2:4") == Scope(kind="n:m", n=2, m=4)


@pytest.mark.parametrize(
    ("text", "hint"),
    [("globl", " Did you mean 'global'?"), ("2:", ""), ("-1:4", ""), ("n:m", ""), ("", ""), ("2:4\n", "")],
)
def test_an_unknown_scope_is_refused(text: str, hint: str):
    with pytest.raises(OptionError) as caught:
        parse_scope(text)
    assert str(caught.value) == (
        f"The scope '{text}' is not known. global, tensor, row or N:M was expected.{hint} Write one of them, for "
        "example 2:4 to keep two of every four weights."
    )


def test_a_row_is_all_but_the_first_axis():
    assert [row_width(shape) for shape in ((), (5,), (3, 4), (3, 2, 4), (0, 4), (0,))] == [1, 5, 4, 8, 4, 0]


@pytest.mark.parametrize(
    ("scope", "sparsity", "num_kept"),
    [
        ("global", 0.9, 3),
        ("tensor", 0.9, 3),
        ("row", 0.9, 5),
        ("row", 0.5, 16),
        ("1:2", None, 16),
        ("global", 0.0, 32),
    ],
)
def test_what_is_kept_is_counted(scope: str, sparsity: float | None, num_kept: int):
    assert count_kept(SHAPES, scope=parse_scope(scope), sparsity=sparsity) == num_kept


def refuse(
    shapes: dict[str, tuple[int, ...]], scope: str, sparsity: float | None, num_candidates=None
) -> str:
    with pytest.raises(OptionError) as caught:
        check_selection(shapes, scope=parse_scope(scope), sparsity=sparsity, num_candidates=num_candidates)
    return str(caught.value)


@pytest.mark.parametrize("scope", ["global", "tensor", "row", "2:4"])
def test_nothing_to_choose_from_is_refused(scope: str):
    assert refuse({}, scope, None) == (
        "The tensors to choose from (none) have no weights. At least one weight was expected. Check the pattern that "
        "names the tensors."
    )
    assert refuse({"a": (0, 4), "b": (0,)}, scope, None) == (
        "The tensors to choose from (a, b) have no weights. At least one weight was expected. Check the pattern that "
        "names the tensors."
    )


@pytest.mark.parametrize("sparsity", [1.0, -0.5, 50, float("nan")])
def test_a_sparsity_out_of_range_is_refused(sparsity: float):
    assert refuse(SHAPES, "global", sparsity) == (
        f"sparsity is {sparsity}. A number from 0 up to but not including 1 was expected, the share of weights that is "
        "pruned. Give one, for example 0.5."
    )


def test_a_missing_sparsity_is_refused():
    assert refuse(SHAPES, "row", None) == (
        "The scope 'row' has no sparsity. A number from 0 up to but not including 1 was expected, the share of weights "
        "that is pruned. Give one, for example 0.5."
    )


@pytest.mark.parametrize(("scope", "sparsity"), [("global", 0.99), ("tensor", 0.98), ("row", 0.95)])
def test_a_sparsity_that_leaves_nothing_is_refused(scope: str, sparsity: float):
    assert refuse(SHAPES, scope, sparsity) == (
        f"A sparsity of {sparsity} in the scope '{scope}' leaves none of 32 weights. At least one was expected. Give a "
        "smaller sparsity."
    )


def test_fewer_candidates_than_are_kept_are_refused():
    assert refuse({"w": (50, 40)}, "global", 0.25, 1400) == (
        "1,500 of 2,000 weights are to be kept, and 1,400 of them are candidates. At least 1,500 were expected. Give a "
        "larger sparsity, or more candidates."
    )
    check_selection({"w": (50, 40)}, scope=parse_scope("global"), sparsity=0.25, num_candidates=1500)


def test_groups_need_one_candidate_in_all():
    check_selection({"w": (50, 40)}, scope=parse_scope("2:4"), sparsity=None, num_candidates=1)
    assert refuse({"w": (50, 40)}, "2:4", None, 0) == (
        "1,000 of 2,000 weights are to be kept, and 0 of them are candidates. At least 1 were expected. Give a larger "
        "sparsity, or more candidates."
    )


@pytest.mark.parametrize(("scope", "n", "m"), [("5:4", 5, 4), ("0:4", 0, 4), ("0:0", 0, 0), ("1:0", 1, 0)])
def test_more_than_the_group_cannot_be_kept(scope: str, n: int, m: int):
    assert refuse(SHAPES, scope, None) == (
        f"The scope '{scope}' keeps {n} of every {m} weights. N from 1 to M was expected. Write for example 2:4."
    )


def test_the_sparsity_of_groups_follows_from_them():
    check_selection({"w": (3, 6)}, scope=parse_scope("1:3"), sparsity=2 / 3)
    assert refuse({"w": (4,)}, "1:4", 0.9) == (
        "sparsity is 0.9, and the scope '1:4' prunes 0.75. The same share was expected, or none. Leave the sparsity "
        "out, or choose another scope."
    )


@pytest.mark.parametrize(("shape", "last"), [((4, 6), 6), ((), 1), ((4, 3), 3)])
def test_groups_must_divide_the_last_axis(shape: tuple[int, ...], last: int):
    assert refuse({"good": (2, 8), "bad": shape}, "2:4", None) == (
        f"The last axis of 'bad' has {last} weights. A multiple of 4 was expected for the scope '2:4'. Leave 'bad' "
        "out, or choose one of the scopes global, tensor, row."
    )
