"""Folders and zips of other libraries: what is read, and what a stranger's zip cannot do."""

from __future__ import annotations

import json
import stat
import zipfile
from pathlib import Path

import pytest

from polygraft.errors import DataError
from polygraft.interop.source import open_source


def make_zip(path: Path, entries: dict[str, bytes], **options: int) -> Path:
    with zipfile.ZipFile(path, "w", options.get("compression", zipfile.ZIP_STORED)) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def refusal(path: Path, reason: str) -> str:
    return (
        f"{path} cannot be read: {reason}. Expected a zip of the one folder that the other library wrote, with its "
        "files at the top or in one folder. Get it again from where it was made."
    )


def test_a_folder_and_its_zips_give_the_same_files(tmp_path: Path):
    folder = tmp_path / "ner"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.json").write_text("{}")
    sources = [
        open_source(folder),
        open_source(make_zip(tmp_path / "a.zip", {"a.json": b"{}"})),
        open_source(make_zip(tmp_path / "b.zip", {"ner/": b"", "ner/a.json": b"{}"})),
    ]
    for source in sources:
        assert list(source.readers) == ["a.json"]
        assert source.read("a.json") == b"{}"
        assert source.digests == {
            "a.json": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        }


@pytest.mark.parametrize(
    "name", ["../up.json", "/etc/up.json", "a/../../up.json", "a\\up.json", "C:/up.json"]
)
def test_a_name_that_leads_out_of_a_zip_is_refused(tmp_path: Path, name: str):
    path = make_zip(tmp_path / "a.zip", {"a.json": b"{}", name: b"x"})
    with pytest.raises(DataError) as caught:
        open_source(path)
    assert str(caught.value) == refusal(path, f"the entry {name!r} leads out of it")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zip"]


def test_a_link_in_a_zip_is_refused(tmp_path: Path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("a.json")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError) as caught:
        open_source(path)
    assert str(caught.value) == refusal(path, "the entry 'a.json' is a symbolic link")


def test_a_zip_with_two_folders_or_one_name_twice_is_refused(tmp_path: Path):
    path = make_zip(tmp_path / "a.zip", {"ner/a.json": b"", "qu/a.json": b""})
    with pytest.raises(DataError) as caught:
        open_source(path)
    assert str(caught.value) == refusal(path, "it holds the folders ner, qu")
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.json", "1")
        archive.writestr("a.json", "2")
    with pytest.raises(DataError) as caught:
        open_source(path)
    assert str(caught.value) == refusal(path, "the entry 'a.json' is in it twice")


def test_a_changed_byte_in_a_zip_is_refused(tmp_path: Path):
    path = make_zip(tmp_path / "a.zip", {"a.json": b'{"name": "ner"}'})
    path.write_bytes(path.read_bytes().replace(b'"ner"', b'"nre"'))
    with pytest.raises(DataError) as caught:
        open_source(path).read("a.json")
    assert str(caught.value) == refusal(path, "the entry 'a.json' is damaged (Bad CRC-32 for file 'a.json')")


def test_a_file_that_is_too_large_is_refused_before_it_is_unpacked(tmp_path: Path):
    data = b" " * (1 << 20) + b"{}"
    path = make_zip(tmp_path / "a.zip", {"a.json": data}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError) as caught:
        open_source(path).read_json("a.json")
    assert str(caught.value) == (
        f"{path}/a.json has more than 1048576 bytes. Expected fewer. It was not written by the library that it is said "
        "to be of: get it again from where it was made."
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            '{"a": 1, "a": 2}',
            "is no JSON: the key 'a' stands twice in one object. Expected one object with keys of",
        ),
        ('{"a": NaN}', "is no JSON: it holds NaN, which is not a number. Expected one object with keys of"),
        (
            "{",
            "is no JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1). Expected one",
        ),
        ("[" * 100_000, "is no JSON: "),
        ("[1]", "holds list. Expected one JSON object with keys of the other library."),
    ],
)
def test_what_is_no_json_object_is_refused(tmp_path: Path, text: str, reason: str):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError) as caught:
        open_source(tmp_path).read_json("a.json")
    assert str(caught.value).startswith(f"{tmp_path}/a.json {reason}")


def test_json_is_read(tmp_path: Path):
    (tmp_path / "a.json").write_text(json.dumps({"a": [1, 2.5, None, "ñ"]}))
    assert open_source(tmp_path).read_json("a.json") == {"a": [1, 2.5, None, "ñ"]}


@pytest.mark.parametrize(
    ("name", "what"), [("a.txt", "is neither a folder nor a zip"), ("b", "is not there")]
)
def test_what_is_neither_a_folder_nor_a_zip_is_refused(tmp_path: Path, name: str, what: str):
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(DataError) as caught:
        open_source(tmp_path / name)
    assert str(caught.value) == (
        f"{tmp_path / name} {what}. Expected the folder that the other library wrote, or a zip of it. Check the path."
    )
