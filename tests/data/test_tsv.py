from __future__ import annotations

import os
from pathlib import Path

import pytest

from polygraft.data.example import LabelledText
from polygraft.data.tsv import read_labelled
from polygraft.errors import DataError

FOLDER = Path(os.environ.get("POLYGRAFT_DATA", Path(__file__).parents[3] / "shared" / "data"))


def write(folder: Path, content: str) -> Path:
    path = folder / "topic.tsv"
    path.write_text(content, encoding="utf-8", newline="")
    return path


def refuse(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_labelled(path)
    return str(caught.value)


def test_labels_and_texts_are_read_with_their_lines(tmp_path: Path):
    path = write(tmp_path, "\ufefflabel\ttext\r\nsports\tn\u0303awi mi \r\n\r\nhealth\twasi\r\n")
    assert read_labelled(path) == [
        LabelledText("\u00f1awi mi", "sports", 2),
        LabelledText("wasi", "health", 4),
    ]


def test_a_header_is_one_only_in_the_first_line(tmp_path: Path):
    path = write(tmp_path, "sports\twasi\nlabel\ttext\n")
    assert [text.label for text in read_labelled(path)] == ["sports", "label"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("sports wasi", "1 filled column of 1"),
        ("sports\t", "1 filled column of 2"),
        ("\twasi", "1 filled column of 2"),
        ("sports\twasi\tx", "3 filled columns of 3"),
    ],
)
def test_a_line_without_two_columns_is_refused(tmp_path: Path, line: str, found: str):
    path = write(tmp_path, f"sports\tok\n{line}\n")
    assert refuse(path) == (
        f"{path}, line 2: {found} where a label and a text were expected ({line!r}). "
        "Write the label, one tab, and the text."
    )


def test_a_control_character_is_refused(tmp_path: Path):
    path = write(tmp_path, "sports\twa\x07si\n")
    assert refuse(path).startswith(f"{path}, line 1: the control character U+0007 stands at character 10 ")


@pytest.mark.parametrize("content", ["", "label\ttext\n", "\n\n"])
def test_a_file_without_texts_is_refused(tmp_path: Path, content: str):
    path = write(tmp_path, content)
    assert refuse(path) == (
        f"{path} has no labelled texts. A label, a tab and a text in each line were expected. "
        "Check that the file is complete and is the one you meant."
    )


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"POLYGRAFT_DATA names no folder: {FOLDER} is absent.")
def test_every_labelled_file_of_the_data_folder_is_read():
    paths = sorted((FOLDER / "topic").glob("*/*.tsv"))
    assert len(paths) == 12
    for path in paths:
        texts = read_labelled(path)
        assert len(texts) == path.read_bytes().count(b"\n") - 1
        assert {"health", "politics", "sports"} <= {text.label for text in texts}
