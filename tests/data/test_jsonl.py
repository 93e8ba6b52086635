from __future__ import annotations

import json
from pathlib import Path

import pytest

from polygraft.data.jsonl import open_jsonl
from polygraft.errors import DataError

ADVICE = 'Write one object a line, as in {"text": "..."}.'


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "train.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path: Path, *names: str) -> list[tuple[int, list[object]]]:
    return [(number, list(values)) for number, values in open_jsonl(path).read_rows(names)]


def refuse(path: Path, *names: str) -> str:
    with pytest.raises(DataError) as caught:
        read(path, *names)
    return str(caught.value)


def test_values_of_the_wanted_keys_are_given_with_their_lines(tmp_path: Path):
    path = write(tmp_path, '\ufeff{"a": 1, "b": [2]}\r\n\r\n{"b": null, "c": 0, "a": "x\\ny"}')
    table = open_jsonl(path)
    assert (table.columns, table.source, table.place(3)) == (("a", "b"), str(path), f"{path}, line 3")
    assert read(path, "b", "a") == [(1, [[2], 1]), (3, [None, "x\ny"])]


@pytest.mark.parametrize("content", ["", "\n \n", "\ufeff"])
def test_an_empty_file_has_no_columns_and_no_rows(tmp_path: Path, content: str):
    path = write(tmp_path, content)
    assert open_jsonl(path).columns is None
    assert read(path, "a") == []


def test_a_missing_key_is_told_with_those_that_are_there(tmp_path: Path):
    path = write(tmp_path, '{"text": "a"}\n{"texts": "b", "id": 1}\n')
    assert refuse(path, "text") == (
        f"{path}, line 2: there is no key 'text'. Keys of this line are: 'texts', 'id'. Did you mean 'texts'? Every "
        "line has the same keys. Add it, or remove the line."
    )
    path = write(tmp_path, '{"text": "a"}\n{}\n')
    assert refuse(path, "text") == (
        f"{path}, line 2: there is no key 'text'. Keys of this line are: none. Every line has the same keys. Add it, "
        "or remove the line."
    )


def test_a_key_that_stands_twice_is_refused(tmp_path: Path):
    path = write(tmp_path, '{"text": "a"}\n{"text": "b", "text": "c"}\n')
    assert refuse(path, "text") == (
        f"{path}, line 2: the column 'text' stands twice. Expected each name once, so that it is clear which column is "
        "meant. Rename or remove one of the two."
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            '{"text": "b"',
            f"this is not JSON: Expecting ',' delimiter at character 13 ('{{\"text\": \"b\"'). {ADVICE}",
        ),
        ("b", f"this is not JSON: Expecting value at character 1 ('b'). {ADVICE}"),
        ("3", f"the line holds '3' where an object was expected. {ADVICE}"),
        (
            '[{"text": "b"}]',
            f'the line holds a list where an object was expected (\'[{{"text": "b"}}]\'). {ADVICE} A file that is one '
            "list becomes one by `jq -c '.[]'`.",
        ),
        ("[" * 100_000, f"a value is nested too deeply or has too many digits ('{'[' * 60}...'). {ADVICE}"),
        ("9" * 5000, f"a value is nested too deeply or has too many digits ('{'9' * 60}...'). {ADVICE}"),
    ],
    ids=["cut", "word", "number", "list", "deep", "digits"],
)
def test_a_line_that_is_no_object_is_refused(tmp_path: Path, line: str, said: str):
    path = write(tmp_path, f'{{"text": "a"}}\n{line}\n')
    assert refuse(path, "text") == f"{path}, line 2: {said}"


def test_a_file_that_is_one_list_over_several_lines_is_refused(tmp_path: Path):
    path = write(tmp_path, json.dumps([{"text": "a"}], indent=1))
    assert refuse(path, "text").startswith(f"{path}, line 1: this is not JSON: ")


def test_a_byte_that_is_not_utf8_is_told_with_its_line(tmp_path: Path):
    path = write(tmp_path, b'{"text": "a"}\n{"text": "\xff"}\n')
    assert refuse(path, "text") == (
        f"{path}, line 2: byte 11 of the line (offset 24 in the file) is 0xFF, which is not UTF-8 there. Files are "
        "read as UTF-8. Convert it, for example with `iconv -f LATIN1 -t UTF-8`."
    )
