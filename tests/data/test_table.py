from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from polygraft.data.reading import BY_ENDING, Kind, Reading
from polygraft.data.table import Row, Table, check_names, find_class_names, find_columns
from polygraft.errors import DataError


def make_table(*columns: str) -> Table:
    def read_rows(names: Sequence[str]) -> Iterator[Row]:
        raise AssertionError(names)

    return Table(source="some.jsonl", columns=columns, read_rows=read_rows)


def refuse(table: Table, reading: Reading, kind: Kind) -> str:
    with pytest.raises(DataError) as caught:
        find_columns(table, reading, kind=kind)
    return str(caught.value)


@pytest.mark.parametrize(
    ("columns", "kind", "expected"),
    [
        ("id tokens ner_tags pos_tags", "tokens", "tokens ner_tags"),
        ("upos words", "tokens", "words upos"),
        ("tokens tags", "tokens", "tokens tags"),
        ("tokens labels", "tokens", "tokens labels"),
        ("label text", "sequence", "text label"),
        ("sentence category", "sequence", "sentence category"),
        ("text label", "text", "text"),
    ],
)
def test_the_usual_names_are_found(columns: str, kind: Kind, expected: str):
    found = find_columns(make_table(*columns.split()), BY_ENDING, kind=kind)
    assert found == tuple(expected.split())


def test_a_name_that_is_given_counts_more_than_the_usual_ones():
    table = make_table("tokens", "forms", "ner_tags", "upos")
    reading = Reading(token_column="forms", tag_column="upos")
    assert find_columns(table, reading, kind="tokens") == ("forms", "upos")


def test_a_column_that_is_not_there_is_told_with_those_that_are():
    assert refuse(make_table("text", "topic"), Reading(label_column="topics"), "sequence") == (
        "some.jsonl has no column 'topics'. Its columns are: 'text', 'topic'. Did you mean 'topic'? Correct "
        "label_column."
    )
    assert refuse(make_table("forms", "tags"), BY_ENDING, "tokens") == (
        "some.jsonl has none of the columns 'tokens', 'words', in which the tokens would be looked for. Its columns "
        "are: 'forms', 'tags'. Name the column by token_column."
    )


def test_two_columns_that_may_be_meant_are_refused():
    assert refuse(make_table("tokens", "upos", "ner_tags"), BY_ENDING, "tokens") == (
        "some.jsonl has the columns 'ner_tags' and 'upos', and each may hold the tags. Expected one of them. Name the "
        "column by tag_column."
    )


def test_a_name_that_stands_twice_is_refused():
    check_names(["a", "b"], place="x")
    with pytest.raises(DataError) as caught:
        check_names(["text", "label", "text"], place="some.csv, line 1")
    assert str(caught.value) == (
        "some.csv, line 1: the column 'text' stands twice. Expected each name once, so that it is clear which column "
        "is meant. Rename or remove one of the two."
    )


def test_names_of_labels_are_found_in_what_hugging_face_says_of_columns():
    label = {"names": ["no", "yes"], "_type": "ClassLabel"}
    described = {
        "text": {"dtype": "string", "_type": "Value"},
        "label": label,
        "new_list": {"feature": label, "_type": "List"},
        "old_list": [label],
        "empty": [],
        "deep": {"feature": {"feature": label}},
    }
    names = ("no", "yes")
    assert find_class_names(described) == {
        "label": names,
        "new_list": names,
        "old_list": names,
        "deep": names,
    }
    assert find_class_names("nothing") == {}
