from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from polygraft.data.example import LabelledText, TaggedSentence
from polygraft.data.reading import BY_ENDING, Kind, Reading
from polygraft.data.rows import read_labelled_rows, read_tagged_rows, read_text_rows
from polygraft.data.table import Row, Table
from polygraft.errors import DataError

READERS = {"tokens": read_tagged_rows, "sequence": read_labelled_rows, "text": read_text_rows}


def make_table(*rows: dict[str, Any], **facts: Any) -> Table:
    def read_rows(names: Sequence[str]) -> Iterator[Row]:
        for number, row in enumerate(rows, start=1):
            yield number, [row[name] for name in names]

    columns = tuple(rows[0]) if rows else None
    return Table(source="some.jsonl", columns=columns, read_rows=read_rows, **facts)


def tag(tokens: Any, tags: Any) -> dict[str, Any]:
    return {"tokens": tokens, "ner_tags": tags}


def label(text: Any, label: Any) -> dict[str, Any]:
    return {"text": text, "label": label}


def refuse(kind: Kind, *rows: dict[str, Any], reading: Reading = BY_ENDING, **facts: Any) -> str:
    with pytest.raises(DataError) as caught:
        list(READERS[kind](make_table(*rows, **facts), reading))
    return str(caught.value)


def test_rows_of_lists_are_sentences():
    table = make_table(tag(["New York", "is"], ["B-LOC", "O"]), tag([], []), tag(("Ñawi",), ("O",)))
    assert read_tagged_rows(table, BY_ENDING) == [
        TaggedSentence(("New York", "is"), ("B-LOC", "O"), 1),
        TaggedSentence(("Ñawi",), ("O",), 3),
    ]


def test_texts_are_composed_and_stripped_and_may_have_several_lines():
    table = make_table(label(" n\u0303awi\n\tmi ", " sports "))
    assert read_labelled_rows(table, BY_ENDING) == [LabelledText("\u00f1awi\n\tmi", "sports", 1)]
    assert list(read_text_rows(make_table({"text": " n\u0303 "}, {"text": ""}), BY_ENDING)) == [
        " n\u0303 ",
        "",
    ]


def test_numbers_get_the_names_of_their_column():
    names = {"ner_tags": ("O", "B-PER"), "label": ("no", "yes")}
    table = make_table(tag(["ana", "went"], [1, 0]), class_names=names)
    assert read_tagged_rows(table, BY_ENDING)[0].tags == ("B-PER", "O")
    table = make_table(label("ana", 1), class_names=names)
    assert read_labelled_rows(table, BY_ENDING)[0].label == "yes"
    given = Reading(label_names=("X", "Y"))
    assert read_labelled_rows(table, given)[0].label == "Y"


def test_written_values_are_words_between_blanks_and_digits_are_numbers_only_with_names():
    table = make_table(tag(" ana  went ", "1 0"), is_written=True)
    assert read_tagged_rows(table, BY_ENDING) == [TaggedSentence(("ana", "went"), ("1", "0"), 1)]
    named = Reading(label_names=("O", "B-PER"))
    assert read_tagged_rows(table, named) == [TaggedSentence(("ana", "went"), ("B-PER", "O"), 1)]


@pytest.mark.parametrize(
    ("tokens", "tags", "said"),
    [
        (
            ["ana", "went"],
            ["O"],
            "line 1: 2 tokens in 'tokens' and 1 tag in 'ner_tags'. Every token has exactly one tag. Add the missing "
            "ones or remove the extra ones.",
        ),
        (
            None,
            ["O"],
            "line 1: 'tokens' has null where a list was expected, one item a word. Write it as a list, or name another "
            "column.",
        ),
        (
            "ana went",
            ["O"],
            "line 1: 'tokens' has the text 'ana went' where a list was expected, one item a word. Write it as a list, "
            "or name another column.",
        ),
        (
            ["ana"],
            {"tag": "O"},
            "line 1: 'ner_tags' has a table where a list was expected, one item a word. Write it as a list, or name "
            "another column.",
        ),
        (
            ["ana", 7],
            ["O", "O"],
            "line 1, item 2: 'tokens' has the number 7 where a word was expected as text. Write it as text, or remove "
            "it with its tag.",
        ),
        (
            ["ana", ["went"]],
            ["O", "O"],
            "line 1, item 2: 'tokens' has a list where a word was expected as text. Write it as text, or remove it "
            "with its tag.",
        ),
        (
            ["ana", None],
            ["O", "O"],
            "line 1, item 2: 'tokens' has null where a word was expected as text. Write it as text, or remove it with "
            "its tag.",
        ),
        (
            [" "],
            ["O"],
            "line 1, item 1: 'tokens' has an empty text (' '). Expected a word. Fill it in, or remove it.",
        ),
        (
            ["ana"],
            [""],
            "line 1, item 1: 'ner_tags' has an empty text (''). Expected a word. Fill it in, or remove it.",
        ),
        (
            ["ana"],
            [True],
            "line 1, item 1: 'ner_tags' has true where a label was expected, as text or as a number. Correct the "
            "value.",
        ),
        (
            ["ana"],
            [0.5],
            "line 1, item 1: 'ner_tags' has the number 0.5 where a label was expected, as text or as a number. Correct "
            "the value.",
        ),
        (
            ["ana", "went"],
            ["O", 1],
            "line 1, item 2: 'ner_tags' has the number 1, and the text 'O' at some.jsonl, line 1, item 1. Expected "
            "labels of one kind, all texts or all numbers. Correct the column.",
        ),
        (
            ["ana"],
            [3],
            "line 1, item 1: 'ner_tags' has the number 3, and nothing says which label that is. Expected text, or "
            "names for the numbers. Give the labels in the order of their numbers by label_names.",
        ),
        (
            ["a\nb"],
            ["O"],
            "line 1, item 1: 'tokens' has the character U+000A at character 2 ('a\\nb'), which does not stand in plain "
            "text. Remove it.",
        ),
        (
            ["a\ud800"],
            ["O"],
            "line 1, item 1: 'tokens' has the character U+D800 at character 2 ('a\\ud800'), which does not stand in "
            "plain text. Remove it.",
        ),
    ],
)
def test_a_row_that_is_no_sentence_is_refused(tokens: Any, tags: Any, said: str):
    assert refuse("tokens", tag(tokens, tags)) == f"some.jsonl, {said}"


@pytest.mark.parametrize(
    ("text", "topic", "said"),
    [
        (
            " \n",
            "good",
            "line 1: 'text' is empty. Expected a text for every label. Add the text, or remove the row.",
        ),
        (
            None,
            "good",
            "line 1: 'text' has null where text was expected. Correct the value, or remove the row.",
        ),
        (
            ["ana"],
            "good",
            "line 1: 'text' has a list where text was expected. Correct the value, or remove the row.",
        ),
        (
            "ana",
            None,
            "line 1: 'label' has null where a label was expected, as text or as a number. Correct the value.",
        ),
        (
            "ana",
            datetime.date(2026, 1, 31),
            "line 1: 'label' has a value of type date where a label was expected, as text or as a number. Correct the "
            "value.",
        ),
        (
            "a\x07b",
            "good",
            "line 1: 'text' has the character U+0007 at character 2 ('a\\x07b'), which does not stand in plain text. "
            "Remove it.",
        ),
        (
            "ana",
            "a\tb",
            "line 1: 'label' has the character U+0009 at character 2 ('a\\tb'), which does not stand in plain text. "
            "Remove it.",
        ),
    ],
)
def test_a_row_that_is_no_labelled_text_is_refused(text: Any, topic: Any, said: str):
    assert refuse("sequence", label(text, topic)) == f"some.jsonl, {said}"


def test_a_number_without_a_name_is_refused():
    names = {"label": ("no", "yes")}
    rows = [label("ana", 1), label("went", -1)]
    assert refuse("sequence", *rows, class_names=names, unit="row") == (
        "some.jsonl, row 2: 'label' has the number -1, and there are names for 0 to 1: no, yes. Expected one of these. "
        "Remove rows without a label, or give more names by label_names."
    )


def test_labels_of_two_kinds_are_refused():
    rows = [label("ana", 1), label("went", "yes")]
    assert refuse("sequence", *rows, reading=Reading(label_names=("no", "yes"))) == (
        "some.jsonl, line 2: 'label' has the text 'yes', and the number 1 at some.jsonl, line 1. Expected labels of "
        "one kind, all texts or all numbers. Correct the column."
    )


def test_plain_text_holds_no_nul_character():
    assert refuse("text", {"text": "ana\x07"}, {"text": "a\0"}) == (
        "some.jsonl, line 2: 'text' has the character U+0000 at character 2 ('a\\x00'), which does not stand in plain "
        "text. Remove it."
    )


def test_true_is_no_label_where_one_is():
    rows = [tag(["ana", "went"], [1, 0]), tag(["ana"], [True])]
    assert refuse("tokens", *rows, reading=Reading(label_names=("O", "B-PER"))).startswith(
        "some.jsonl, line 2, item 1: 'ner_tags' has true where a label was expected"
    )


@pytest.mark.parametrize("rows", [(), (tag([], []),)])
def test_no_sentence_is_refused(rows: tuple[dict[str, Any], ...]):
    assert refuse("tokens", *rows) == (
        "some.jsonl has no sentences. Rows with a list of tokens and a list of tags were expected. Check that it is "
        "complete and is the one you meant."
    )


def test_no_labelled_text_is_refused():
    assert refuse("sequence") == (
        "some.jsonl has no labelled texts. Rows with a text and a label were expected. Check that it is complete and "
        "is the one you meant."
    )
    assert list(read_text_rows(make_table(), BY_ENDING)) == []
