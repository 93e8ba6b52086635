"""Files with the text before the label, and files that only look a little like it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from polygraft.data.read import read_labelled_texts
from polygraft.data.reading import Reading
from polygraft.data.tsv import read_labelled
from polygraft.errors import DataError

AS_TABLE = "let its name end in .tsv, or give --format tsv (format = 'tsv' in a recipe)"


def write(folder: Path, rows: Sequence[tuple[str, str]], *, name: str = "topic.tsv") -> Path:
    path = folder / name
    path.write_text("".join(f"{first}\t{second}\n" for first, second in rows), encoding="utf-8")
    return path


def list_intents(*, num_intents: int, each: int) -> list[tuple[str, str]]:
    """Rows with a label of its own for every few texts."""
    return [
        (f"intent_{intent}", f"please do what number {intent} says, time {time}")
        for intent in range(num_intents)
        for time in range(each)
    ]


def test_texts_before_their_labels_are_refused(tmp_path: Path):
    path = write(
        tmp_path, [(f"review {number} of a film", ("good", "bad")[number % 2]) for number in range(40)]
    )
    with pytest.raises(DataError) as caught:
        read_labelled_texts(path)
    assert str(caught.value) == (
        f"{path} seems to have texts where labels should be: its 40 lines have 40 different labels and 2 different "
        "texts, as in line 1 ('review 0 of a film\\tgood'). Expected a label, a tab and a text in each line. Swap the "
        "columns. Or read the file as a table: let its first line name the columns, such as text<TAB>label, and "
        f"{AS_TABLE}; --text-column and --label-column say which names are meant. If the labels are meant so, a first "
        "line label<TAB>text says it."
    )


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([(text, label) for label, text in list_intents(num_intents=50, each=2)], id="intents"),
        pytest.param([(f"the text {number}", "one") for number in range(4)], id="one label"),
        pytest.param(
            [("the same text", "one"), *((f"the text {n}", "one") for n in range(3))], id="repeated"
        ),
        pytest.param([(f"这是第{number}篇新闻", "sports") for number in range(6)], id="Chinese"),
    ],
)
def test_texts_of_other_kinds_before_their_labels_are_refused(tmp_path: Path, rows: list[tuple[str, str]]):
    path = write(tmp_path, rows)
    with pytest.raises(DataError, match="seems to have texts where labels should be"):
        read_labelled(path)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(list_intents(num_intents=150, each=2), id="150 labels of two texts each"),
        pytest.param(list_intents(num_intents=40, each=1), id="a label for every text"),
        pytest.param(
            [(f"a long name of label {number}", f"w{number}") for number in range(40)],
            id="long labels, each once",
        ),
        pytest.param(
            [(f"label {number}", f"text with several labels, {number // 4}") for number in range(40)],
            id="texts with four labels each",
        ),
        pytest.param([("good", "the same text")] * 40, id="one text"),
        pytest.param(
            [(("good", "bad")[number % 2], f"t{number % 5}") for number in range(40)], id="short texts"
        ),
        pytest.param([(f"the text {number}", "one") for number in range(3)], id="three lines"),
    ],
)
def test_many_or_long_labels_alone_are_read(tmp_path: Path, rows: list[tuple[str, str]]):
    assert [(each.label, each.text) for each in read_labelled(write(tmp_path, rows))] == rows


def test_a_first_line_says_that_the_labels_are_meant_so(tmp_path: Path):
    rows = [(f"a label of its own, {number}", "text") for number in range(8)]
    path = write(tmp_path, [("label", "text"), *rows])
    assert [(each.label, each.text) for each in read_labelled(path)] == rows


def test_what_the_message_advises_reads_the_texts(tmp_path: Path):
    rows = [(f"review {number} of a film", "good") for number in range(8)]
    named = write(tmp_path, [("text", "label"), *rows])
    assert [(each.text, each.label) for each in read_labelled_texts(named)] == rows
    other = write(tmp_path, [("review", "verdict"), *rows], name="other.txt")
    reading = Reading(format="tsv", text_column="review", label_column="verdict")
    assert [(each.text, each.label) for each in read_labelled_texts(other, reading)] == rows


@pytest.mark.parametrize("names", [("text", "label"), ("sentence", "category")])
def test_names_in_the_first_line_of_a_file_that_is_no_table_are_refused(
    tmp_path: Path, names: tuple[str, str]
):
    path = write(tmp_path, [names, ("a film", "good")], name="topic.txt")
    with pytest.raises(DataError) as caught:
        read_labelled_texts(path)
    assert str(caught.value) == (
        f"{path}, line 1: the columns are called {names[0]} and {names[1]}, and the file is read as lines of label, "
        f"tab, text. Expected a table where columns have names. To read it as one, {AS_TABLE}."
    )
    assert [each.label for each in read_labelled_texts(path, Reading(format="tsv"))] == ["good"]
