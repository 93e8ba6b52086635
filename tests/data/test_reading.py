from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from polygraft.data.reading import BY_ENDING, FORMATS, Kind, Reading, find_format
from polygraft.errors import OptionError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.conll", None),
        ("a.bio", None),
        ("a.txt", None),
        ("a", None),
        ("a.TSV", "tsv"),
        ("a.csv", "csv"),
        ("a.jsonl", "jsonl"),
        ("a.ndjson", "jsonl"),
        ("a.json", "jsonl"),
        ("a.b.parquet", "parquet"),
    ],
)
@pytest.mark.parametrize("kind", ["tokens", "sequence", "text"])
def test_an_ending_says_the_format(name: str, expected: str | None, kind: Kind):
    assert find_format(Path(name), BY_ENDING, kind=kind) == expected


def test_a_format_that_is_asked_for_counts_more_than_the_ending():
    assert find_format(Path("a.txt"), Reading(format="jsonl"), kind="text") == "jsonl"
    assert find_format(Path("a.jsonl"), Reading(format="text"), kind="text") is None
    assert find_format(Path("a.tsv"), Reading(format="conll"), kind="tokens") is None


@pytest.mark.parametrize(
    ("form", "kind", "said"),
    [
        ("text", "tokens", "tagged sentences are to be read from a. Expected one of conll, tsv, csv"),
        ("conll", "sequence", "labelled texts are to be read from a. Expected one of tsv, csv"),
        ("conll", "text", "lines of text are to be read from a. Expected one of text, tsv, csv"),
    ],
)
def test_a_format_of_something_else_is_refused(form: Any, kind: Kind, said: str):
    with pytest.raises(OptionError) as caught:
        find_format(Path("a"), Reading(format=form), kind=kind)
    assert str(caught.value) == f"The format is '{form}', and {said}, jsonl, parquet. Correct the format."


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            {"format": "jsnl"},
            f"The format is 'jsnl'. Expected one of {', '.join(FORMATS)}. Did you mean 'jsonl'? Correct the word.",
        ),
        (
            {"text_column": ""},
            "text_column is empty. Expected the name of a column. Give one, or none.",
        ),
        (
            {"label_names": ("O", " ")},
            "label_names holds an empty label. Expected each label once, in the order of the numbers. Correct the "
            "list.",
        ),
        (
            {"label_names": ("O", "B", "O")},
            "label_names holds 'O' twice. Expected each label once, in the order of the numbers. Correct the list.",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(asked: dict[str, Any], said: str):
    with pytest.raises(OptionError) as caught:
        Reading(**asked)
    assert str(caught.value) == said


def test_columns_of_conll_have_numbers():
    assert Reading(token_column=1, tag_column=-2).find_numbers() == (1, -2)
    with pytest.raises(OptionError) as caught:
        Reading(tag_column="upos").find_numbers()
    assert str(caught.value) == (
        "tag_column is 'upos', a name, and the columns of CoNLL have numbers. Expected 0 for the first or -1 for the "
        "last. Give a number, or the format of a file whose columns have names."
    )


def test_other_columns_have_names():
    reading = Reading(token_column="words", label_column="topic")
    assert [reading.find_name(role) for role in ("token", "tag", "text", "label")] == [
        "words",
        None,
        None,
        "topic",
    ]
    assert [reading.names_columns(kind) for kind in ("tokens", "sequence", "text")] == [True, True, False]
    with pytest.raises(OptionError) as caught:
        Reading(tag_column=2).find_name("tag")
    assert str(caught.value) == (
        "tag_column is 2, a number, and the columns of this format have names. Expected a name such as 'ner_tags'. "
        "Give the name."
    )
