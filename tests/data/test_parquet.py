from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from polygraft.data.parquet import HUGGING_FACE, open_parquet
from polygraft.data.reading import BY_ENDING
from polygraft.data.rows import read_labelled_rows, read_tagged_rows
from polygraft.errors import DataError, MissingExtraError


def write(folder: Path, table: pyarrow.Table, **options: object) -> Path:
    path = folder / "train.parquet"
    parquet.write_table(table, path, **options)
    return path


def refuse(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_parquet(path)
    return str(caught.value)


def test_rows_are_read_over_row_groups_and_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("polygraft.data.parquet.BATCH_ROWS", 3)
    texts = [f"text {number}" for number in range(10)]
    path = write(tmp_path, pyarrow.table({"id": range(10), "text": texts}), row_group_size=4)
    table = open_parquet(path)
    assert (table.columns, table.place(2)) == (("id", "text"), f"{path}, row 2")
    found = [(number, list(values)) for number, values in table.read_rows(["text", "id"])]
    assert found == [(number + 1, [text, number]) for number, text in enumerate(texts)]


def test_categories_and_large_texts_are_texts(tmp_path: Path):
    label = pyarrow.array(["good", "bad", "good"]).dictionary_encode()
    text = pyarrow.array(["a", "b", "c"], pyarrow.large_string())
    path = write(tmp_path, pyarrow.table({"label": label, "text": text}))
    found = read_labelled_rows(open_parquet(path), BY_ENDING)
    assert [(each.text, each.label) for each in found] == [("a", "good"), ("b", "bad"), ("c", "good")]


def test_numbers_are_named_as_the_metadata_say(tmp_path: Path):
    features = {"ner_tags": {"feature": {"names": ["O", "B-PER"], "_type": "ClassLabel"}, "_type": "List"}}
    rows = pyarrow.table({"tokens": [["ana", "went"]], "ner_tags": [[1, 0]]})
    metadata = {HUGGING_FACE: json.dumps({"info": {"features": features}}).encode()}
    path = write(tmp_path, rows.replace_schema_metadata(metadata))
    assert read_tagged_rows(open_parquet(path), BY_ENDING)[0].tags == ("B-PER", "O")


@pytest.mark.parametrize("metadata", [{}, {HUGGING_FACE: b"{"}, {HUGGING_FACE: b"[]"}])
def test_numbers_without_names_are_refused(tmp_path: Path, metadata: dict[bytes, bytes]):
    rows = pyarrow.table({"tokens": [["ana"]], "ner_tags": [[1]]})
    path = write(tmp_path, rows.replace_schema_metadata(metadata))
    with pytest.raises(DataError) as caught:
        read_tagged_rows(open_parquet(path), BY_ENDING)
    assert str(caught.value) == (
        f"{path}, row 1, item 1: 'ner_tags' has the number 1, and nothing says which label that is. Expected text, or "
        "names for the numbers. Give the labels in the order of their numbers by label_names."
    )


def test_a_null_is_refused_with_its_row(tmp_path: Path):
    path = write(tmp_path, pyarrow.table({"text": ["a", None], "label": ["good", "bad"]}))
    with pytest.raises(DataError) as caught:
        read_labelled_rows(open_parquet(path), BY_ENDING)
    assert str(caught.value) == (
        f"{path}, row 2: 'text' has null where text was expected. Correct the value, or remove the row."
    )


def test_a_file_without_rows_has_columns(tmp_path: Path):
    path = write(tmp_path, pyarrow.table({"text": pyarrow.array([], pyarrow.string())}))
    table = open_parquet(path)
    assert (table.columns, list(table.read_rows(["text"]))) == (("text",), [])


def test_a_column_that_stands_twice_is_refused(tmp_path: Path):
    path = write(tmp_path, pyarrow.table([["a"], ["b"]], names=["text", "text"]))
    assert refuse(path) == (
        f"{path}: the column 'text' stands twice. Expected each name once, so that it is clear which column is meant. "
        "Rename or remove one of the two."
    )


def test_a_file_that_is_not_there_or_no_parquet_is_refused(tmp_path: Path):
    path = tmp_path / "train.parquet"
    assert refuse(path) == (
        f"There is no file {path}. An existing file was expected. Check the path; a relative one starts at the folder "
        "where the program was started."
    )
    path.write_text("text\nana went to lima and to the moon\n")
    said = refuse(path)
    assert said.startswith(f"{path} cannot be read as Parquet: Parquet magic bytes not found in footer")
    assert said.endswith(". A whole Parquet file was expected. Write or fetch it again, or name its format.")


def test_a_damaged_page_is_told_when_it_is_read(tmp_path: Path):
    texts = [f"some text {number}" for number in range(1000)]
    path = write(tmp_path, pyarrow.table({"text": texts}), use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(open_parquet(path).read_rows(["text"]))
    assert str(caught.value).startswith(f"{path} cannot be read as Parquet: ")


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("polygraft.data.extra.find_spec", lambda package: None)
    with pytest.raises(MissingExtraError) as caught:
        open_parquet(tmp_path / "a.parquet")
    assert str(caught.value) == (
        f"{tmp_path}/a.parquet cannot be read without the package pyarrow, which is not installed. Expected it beside "
        "polygraft. Install it: pip install 'polygraft[parquet]'"
    )
