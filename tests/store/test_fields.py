from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polygraft.errors import StoreError
from polygraft.store.fields import Fields, parse_object, shown

PLAIN = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=8)
WHOLE = st.integers(min_value=-(2**63) + 1, max_value=2**63 - 1)
VALUES = st.recursive(
    st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False, allow_infinity=False) | PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(PLAIN, VALUES, max_size=4))
def test_what_json_writes_is_read_back(value: dict[str, object]):
    assert parse_object(json.dumps(value).encode(), where="x") == value


@given(st.binary(max_size=64))
def test_any_bytes_give_an_object_or_a_sentence(data: bytes):
    try:
        assert isinstance(parse_object(data, where="x"), dict)
    except StoreError as error:
        assert str(error).startswith("x is not the JSON that polygraft writes: ")


def test_text_with_letters_of_any_script_is_read():
    assert parse_object('{"ñ": "Qusqu ሀ \\n\\t"}'.encode(), where="x") == {"ñ": "Qusqu ሀ \n\t"}


def test_nesting_is_refused_whatever_the_recursion_limit_is():
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        with pytest.raises(StoreError, match=r"x is not the JSON .*: it is nested deeper than 32 levels"):
            parse_object(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", where="x")
    finally:
        sys.setrecursionlimit(before)


def test_more_than_16_mib_are_not_parsed():
    with pytest.raises(StoreError) as caught:
        parse_object(b" " * (16 * 1024 * 1024 + 1), where="x")
    assert str(caught.value) == (
        "x holds 16777217 bytes of JSON, where at most 16777216 are read. "
        "It was not written by polygraft. Put the graft in again."
    )


def test_a_whole_number_is_no_text():
    fields = Fields({"name": 3}, where="x", known=("name",))
    with pytest.raises(StoreError) as caught:
        fields.text("name")
    assert str(caught.value) == (
        "x: 'name' is 3 where text was expected. The file was changed after it was written. "
        "Put the graft in again."
    )


def test_the_path_of_an_inner_key_is_named():
    fields = Fields({"base": {"name": []}}, where="x", known=("base",))
    with pytest.raises(StoreError, match=r"^x: 'base\.name' is \[\] where text was expected\."):
        fields.object("base", known=("name",)).text("name")


def test_numbers_come_back_as_floats():
    fields = Fields({"scores": {"f1": 1, "loss": 0.5}}, where="x", known=("scores",))
    assert fields.numbers("scores") == {"f1": 1.0, "loss": 0.5}
    assert isinstance(fields.numbers("scores")["f1"], float)


def test_a_shown_value_is_short_and_has_no_control_characters():
    assert shown("\x1b[2J") == r"'\x1b[2J'"
    assert shown("a" * 1000) == f"'{'a' * 57}...'"
    assert shown(list(range(1000))) == "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16..."
