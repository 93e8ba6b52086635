"""The same examples out of every format, and what identifies them."""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as some
from pyarrow import parquet

from polygraft.data.conll import write_conll
from polygraft.data.example import LabelledText, TaggedSentence
from polygraft.data.open import file_digest
from polygraft.data.read import Source, digest_source, read_labelled_texts, read_sentences, read_texts
from polygraft.data.reading import BY_ENDING, Kind, Reading
from polygraft.errors import DataError

Columns = dict[str, list[Any]]
datasets.disable_progress_bars()

# Anything that is plain text: no control characters and no lone surrogates.
letters = some.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])
words = (some.text(letters, min_size=1).filter(lambda word: not any(map(str.isspace, word)))).filter(
    lambda word: word != "-DOCSTART-"
)
pairs = some.lists(some.lists(some.tuples(words, words), min_size=1, max_size=5), min_size=1, max_size=5)
# Quotes, commas and the like more often than by chance.
texts = some.text(letters | some.sampled_from(" \",'#\\[{:"), min_size=1).filter(str.strip)
many_lines = some.lists(texts, min_size=1, max_size=3).map("\n".join)


def write_jsonl(path: Path, columns: Columns) -> Path:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_escaped(path: Path, columns: Columns) -> Path:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\r\n".join(map(json.dumps, rows)), encoding="ascii", newline="")
    return path


def write_csv(path: Path, columns: Columns) -> Path:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def write_tsv(path: Path, columns: Columns) -> Path:
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, columns: Columns) -> Path:
    parquet.write_table(pyarrow.table(columns), path)
    return path


def save_dataset(path: Path, columns: Columns) -> Path:
    Dataset.from_dict(columns).save_to_disk(path)
    return Path(f"hf:{path}")


WITH_LISTS: dict[str, Callable[[Path, Columns], Path]] = {
    "a.jsonl": write_jsonl,
    "b.json": write_escaped,
    "c.parquet": write_parquet,
    "saved": save_dataset,
}
WRITTEN: dict[str, Callable[[Path, Columns], Path]] = {"d.csv": write_csv, "e.tsv": write_tsv}


def drop_lines(sentences: list[TaggedSentence]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(each.tokens, each.tags) for each in sentences]


@given(written=pairs)
@settings(max_examples=40)
def test_sentences_are_the_same_out_of_every_format(tmp_path_factory: pytest.TempPathFactory, written: list):
    folder = tmp_path_factory.mktemp("sentences")
    sentences = [TaggedSentence(*zip(*rows, strict=True), 0) for rows in written]
    write_conll(folder / "a.conll", sentences)
    expected = drop_lines(sentences)
    assert drop_lines(read_sentences(folder / "a.conll")) == expected
    columns = {
        "tokens": [list(each.tokens) for each in sentences],
        "ner_tags": [list(each.tags) for each in sentences],
    }
    for name, write in WITH_LISTS.items():
        assert drop_lines(read_sentences(write(folder / name, columns))) == expected, name
    joined = {key: [" ".join(cell) for cell in cells] for key, cells in columns.items()}
    for name, write in WRITTEN.items():
        assert drop_lines(read_sentences(write(folder / name, joined))) == expected, name


@given(written=some.lists(some.tuples(many_lines, texts), min_size=1, max_size=5))
@settings(max_examples=40)
def test_labelled_texts_are_the_same_out_of_every_format(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[str, str]]
):
    folder = tmp_path_factory.mktemp("labelled")
    columns = {"text": [text for text, _ in written], "label": [label for _, label in written]}
    expected = [(unicodedata.normalize("NFC", text.strip()), label.strip()) for text, label in written]
    for name, write in {**WITH_LISTS, "d.csv": write_csv}.items():
        found = read_labelled_texts(write(folder / name, columns))
        assert [(each.text, each.label) for each in found] == expected, name
    one_line = {**columns, "text": [text.replace("\n", " ") for text in columns["text"]]}
    found = read_labelled_texts(write_tsv(folder / "e.tsv", one_line))
    assert [(each.text, each.label) for each in found] == [
        (text.replace("\n", " "), label) for text, label in expected
    ]


@given(written=some.lists(many_lines, min_size=1, max_size=5))
@settings(max_examples=40)
def test_plain_text_is_the_same_out_of_every_format(
    tmp_path_factory: pytest.TempPathFactory, written: list[str]
):
    folder = tmp_path_factory.mktemp("text")
    (folder / "a.txt").write_text("\n".join(["", *written]), encoding="utf-8")
    expected = read_texts(folder / "a.txt")
    columns = {"text": written, "id": [str(number) for number in range(len(written))]}
    for name, write in {**WITH_LISTS, "d.csv": write_csv}.items():
        path = write(folder / name, columns)
        assert read_texts(path) == expected, name
        assert read_texts(path, max_lines=2) == expected[:2], name


def test_files_of_label_tab_text_are_read_as_before(tmp_path: Path):
    path = tmp_path / "topic.tsv"
    for header in ("", "label\ttext\n"):
        path.write_text(f'{header}sports\t"The" match\n')
        line = 2 if header else 1
        assert read_labelled_texts(path) == [LabelledText('"The" match', "sports", line)]
    path.write_text("text\tlabel\nThe match\tsports\n")
    assert read_labelled_texts(path) == [LabelledText("The match", "sports", 2)]


def test_tagged_words_between_tabs_are_conll_whatever_the_file_is_called(tmp_path: Path):
    for name in ("a.tsv", "a.bio", "a.txt"):
        path = tmp_path / name
        path.write_text("Cusco\tB-LOC\nmi\tO\n")
        assert read_sentences(path) == [TaggedSentence(("Cusco", "mi"), ("B-LOC", "O"), 1)]
    path = tmp_path / "a.jsonl"
    path.write_text("Cusco\tB-LOC\nmi\tO\n")
    reading = Reading(format="conll", token_column=1, tag_column=0)
    assert read_sentences(path, reading) == [TaggedSentence(("B-LOC", "O"), ("Cusco", "mi"), 1)]


def test_a_file_without_an_ending_is_read_in_the_format_asked_for(tmp_path: Path):
    path = write_jsonl(tmp_path / "data", {"forms": [["ana"]], "upos": [["NOUN"]]})
    reading = Reading(format="jsonl", token_column="forms")
    assert read_sentences(path, reading) == [TaggedSentence(("ana",), ("NOUN",), 1)]


@pytest.mark.parametrize("name", ["a.jsonl", "c.parquet", "d.csv", "e.tsv"])
def test_a_source_without_text_is_refused(tmp_path: Path, name: str):
    path = {**WITH_LISTS, **WRITTEN}[name](tmp_path / name, {"text": [" "], "id": ["1"]})
    with pytest.raises(DataError) as caught:
        read_texts(path)
    assert str(caught.value) == (
        f"{path} has no text. Rows with a text were expected. Check that it is complete and is the one you meant."
    )


@pytest.mark.parametrize(
    ("read", "what"),
    [
        (read_sentences, "sentences. Rows with a list of tokens and a list of tags were"),
        (read_labelled_texts, "labelled texts. Rows with a text and a label were"),
        (read_texts, "text. Rows with a text were"),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str, read: Callable[[Path], object], what: str):
    path = tmp_path / name
    path.write_bytes(b"")
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path} has no {what} expected. Check that it is complete and is the one you meant."
    )


def test_a_format_without_named_columns_is_no_table():
    source = Source(path=Path("a.conll"), kind="tokens", reading=BY_ENDING)
    with pytest.raises(DataError) as caught:
        source.open()
    assert str(caught.value) == (
        "The columns of a.conll have no names. Expected a format whose columns have some."
    )


@pytest.mark.parametrize(("name", "kind"), [("a.conll", "tokens"), ("a.tsv", "sequence"), ("a.txt", "text")])
def test_a_plain_file_is_identified_by_its_bytes(tmp_path: Path, name: str, kind: Kind):
    path = tmp_path / name
    path.write_text("sports\tsome text\n")
    reading = Reading(label_names=("a", "b"))
    assert (
        Source(path=path, kind=kind, reading=reading).identify() == file_digest(path) == digest_source(path)
    )


def test_a_table_is_identified_by_its_bytes_and_how_it_is_read(tmp_path: Path):
    columns = {"tokens": [["a"]], "ner_tags": [["O"]], "text": ["a"], "label": ["b"]}
    path = write_jsonl(tmp_path / "a.jsonl", columns)
    moved = write_jsonl(tmp_path / "moved.json", columns)
    same = [Source(path=each, kind="tokens", reading=BY_ENDING).identify() for each in (path, moved)]
    assert same == [f"{file_digest(path)} tokens jsonl token=None tag=None"] * 2
    readings = [
        BY_ENDING,
        Reading(tag_column="tags"),
        Reading(token_column="tags"),
        Reading(label_names=("a",)),
        Reading(format="csv"),
    ]
    kinds: list[Kind] = ["tokens", "sequence", "text"]
    found = {
        Source(path=path, kind=kind, reading=reading).identify() for kind in kinds for reading in readings
    }
    # Columns of tags say nothing of texts.
    assert len(found) == 5 + 3 + 3
    write_jsonl(path, {**columns, "label": ["c"]})
    assert Source(path=path, kind="tokens", reading=BY_ENDING).identify() not in found


def test_a_dataset_is_identified_by_its_rows(tmp_path: Path):
    path = save_dataset(tmp_path / "one", {"text": ["a"], "label": ["b"]})
    same = save_dataset(tmp_path / "two", {"text": ["a"], "label": ["b"]})
    other = save_dataset(tmp_path / "three", {"text": ["a"], "label": ["c"]})
    found = [Source(path=each, kind="sequence", reading=BY_ENDING).identify() for each in (path, same, other)]
    assert found[0] == found[1] == f"{digest_source(path)} sequence datasets text=None label=None"
    assert found[0] != found[2]
