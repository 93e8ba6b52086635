from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from polygraft.data.delimited import COMMA, TAB, has_header, open_delimited
from polygraft.data.reading import BY_ENDING, Kind, Reading
from polygraft.errors import DataError

Delimiter = Literal["\t", ","]


def write(folder: Path, content: str) -> Path:
    path = folder / "train"
    path.write_text(content, encoding="utf-8", newline="")
    return path


def read(path: Path, *names: str, delimiter: Delimiter = COMMA) -> list[tuple[int, list[object]]]:
    rows = open_delimited(path, delimiter=delimiter).read_rows(names)
    return [(number, list(values)) for number, values in rows]


def refuse(path: Path, *names: str, delimiter: Delimiter = COMMA) -> str:
    with pytest.raises(DataError) as caught:
        read(path, *names, delimiter=delimiter)
    return str(caught.value)


def test_quoted_cells_hold_commas_tabs_quotes_and_line_feeds(tmp_path: Path):
    path = write(tmp_path, '\ufeffid, text,label\r\n1,"a, ""b""\r\n\tc",good\r\n\r\n,,\r\n2,\'d\',bad')
    assert open_delimited(path, delimiter=COMMA).columns == ("id", "text", "label")
    assert read(path, "label", "text") == [(2, ["good", 'a, "b"\n\tc']), (6, ["bad", "'d'"])]


def test_quotes_are_plain_characters_between_tabs(tmp_path: Path):
    path = write(tmp_path, '\ufeffid\ttext\r\n1\t"a\r\n\t\r\n\n2\t""b" , c\n')
    table = open_delimited(path, delimiter=TAB)
    assert (table.columns, table.is_written) == (("id", "text"), True)
    assert read(path, "text", delimiter=TAB) == [(2, ['"a']), (5, ['""b" , c'])]


@pytest.mark.parametrize("delimiter", [TAB, COMMA])
@pytest.mark.parametrize("content", ["", "\n\r\n"])
def test_an_empty_file_has_no_columns(tmp_path: Path, content: str, delimiter: Delimiter):
    assert open_delimited(write(tmp_path, content), delimiter=delimiter).columns is None


@pytest.mark.parametrize("delimiter", [TAB, COMMA])
def test_a_header_alone_has_no_rows(tmp_path: Path, delimiter: Delimiter):
    assert read(write(tmp_path, f"text{delimiter}label\n"), "text", delimiter=delimiter) == []


def test_a_row_with_another_number_of_cells_is_refused(tmp_path: Path):
    path = write(tmp_path, 'text,label\n"a\nb",good\nc,good,x\n')
    assert refuse(path, "text") == (
        f"{path}, line 4: 3 cells where 2 were expected ('c,good,x'). The first line names 'text', 'label'. Separate "
        "cells with one comma, and put cells with commas or line feeds in double quotes."
    )
    path = write(tmp_path, "text\tlabel\nc\n")
    assert refuse(path, "text", delimiter=TAB) == (
        f"{path}, line 2: 1 cell where 2 were expected ('c'). The first line names 'text', 'label'. Separate cells "
        "with one tab, and leave no tab or line feed in a cell; a file with quoted cells is CSV."
    )


@pytest.mark.parametrize("delimiter", [TAB, COMMA])
def test_a_column_that_stands_twice_is_refused(tmp_path: Path, delimiter: Delimiter):
    path = write(tmp_path, f"text{delimiter}label{delimiter}text\n")
    assert refuse(path, "text", delimiter=delimiter) == (
        f"{path}, line 1: the column 'text' stands twice. Expected each name once, so that it is clear which column is "
        "meant. Rename or remove one of the two."
    )


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ('"never closed\nd,bad\n', "unexpected end of data"),
        ('"closed" too early,good\n', "',' expected after '\"'"),
        (f"{'x' * 200_000},good\n", "field larger than field limit (131072)"),
    ],
)
def test_what_is_no_csv_is_refused_with_the_line_where_it_begins(tmp_path: Path, cell: str, said: str):
    path = write(tmp_path, f'text,label\n"a\nb",good\n{cell}')
    assert refuse(path, "text") == (
        f"{path}, line 4: the row that begins here is not CSV: {said}. Expected cells between commas, and for every "
        "quote that opens a cell one that closes it, with doubled quotes between. Correct the quotes."
    )


@pytest.mark.parametrize(
    ("first", "kind", "expected"),
    [
        ("text\tlabel", "sequence", True),
        ("index_id\tcategory\ttext", "sequence", True),
        ("label\ttext", "sequence", False),
        ("sports\tThe match", "sequence", False),
        ("id\ttokens\tner_tags", "tokens", True),
        ("Cusco\tB-LOC", "tokens", False),
        ("tokens\tx", "tokens", False),
        ("id\ttext", "text", True),
        ("some text", "text", False),
        ("", "text", False),
    ],
)
def test_the_first_line_tells_whether_columns_have_names(
    tmp_path: Path, first: str, kind: Kind, expected: bool
):
    path = write(tmp_path, f"{first}\r\nmore\tcells\r\n")
    assert has_header(path, BY_ENDING, kind=kind) is expected


def test_columns_that_are_asked_for_by_name_have_names(tmp_path: Path):
    path = write(tmp_path, "topic\tbody\n")
    assert has_header(path, Reading(text_column="body"), kind="sequence")
    assert not has_header(path, Reading(text_column="body"), kind="tokens")
