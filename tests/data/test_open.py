from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from polygraft.data.open import check_readable, file_digest, read_lines, show, stream_lines
from polygraft.errors import DataError


def refuse(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_lines(path)
    return str(caught.value)


def test_lines_end_at_line_feeds_only(tmp_path: Path):
    path = tmp_path / "qu.txt"
    path.write_bytes("\ufeffone\r\ntwo\u2028\x0c still\n\n\rlast".encode())
    assert read_lines(path) == ["one", "two\u2028\x0c still", "", "\rlast"]


def test_a_byte_that_is_not_utf8_is_located(tmp_path: Path):
    path = tmp_path / "qu.txt"
    path.write_bytes(b"\xef\xbb\xbfruna\nse\xf1or\n")
    assert refuse(path) == (
        f"{path}, line 2: byte 3 of the line (offset 10 in the file) is 0xF1, which is not UTF-8 there. "
        "Files are read as UTF-8. Convert it, for example with `iconv -f LATIN1 -t UTF-8`."
    )


def test_a_cut_character_at_the_end_is_located(tmp_path: Path):
    path = tmp_path / "qu.txt"
    path.write_bytes(b"a\n\xc3")
    assert refuse(path).startswith(f"{path}, line 2: byte 1 of the line (offset 2 in the file) is 0xC3")


def test_utf16_is_named(tmp_path: Path):
    path = tmp_path / "qu.txt"
    path.write_bytes("runa".encode("utf-16"))
    assert refuse(path) == (
        f"{path}, line 1: byte 1 of the line (offset 0 in the file) is 0xFF, which is not UTF-8 there. It looks like "
        "UTF-16. Files are read as UTF-8. Convert it, for example with `iconv -f UTF-16 -t UTF-8`."
    )


def test_a_missing_file_is_named_with_its_nearest_neighbour(tmp_path: Path):
    (tmp_path / "train.conll").touch()
    assert refuse(tmp_path / "trian.conll") == (
        f"There is no file {tmp_path / 'trian.conll'}. Did you mean 'train.conll'? An existing file was "
        "expected. Check the path; a relative one starts at the folder where the program was started."
    )


def test_a_missing_folder_is_no_other_error(tmp_path: Path):
    path = tmp_path / "absent" / "train.conll"
    assert refuse(path).startswith(f"There is no file {path}. An existing file was expected.")


@pytest.mark.parametrize("read", [read_lines, file_digest])
def test_a_folder_is_refused(tmp_path: Path, read):
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is a folder where a file was expected. Name one of the files in it."
    )


def test_a_path_through_a_file_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    assert refuse(tmp_path / "file" / "x") == (
        f"{tmp_path / 'file' / 'x'} cannot be read: Not a directory. A readable file was expected. "
        "Check its path and permissions."
    )


def test_a_digest_is_that_of_the_bytes(tmp_path: Path):
    path = tmp_path / "qu.txt"
    path.write_bytes(b"\xff\x00runa" * 100_000)
    assert file_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_long_pieces_are_cut_in_messages():
    assert show("a" * 100) == f"'{'a' * 60}...'"


def test_lines_come_one_by_one_as_they_are_read_at_once(tmp_path: Path):
    path = tmp_path / "some.txt"
    for content in (
        "",
        "\n",
        "a\r\nb\u2028c\rd\n\r\n\ufeffe",
        "\ufeff",
        "\ufeff\n\ufeff\r\r\n",
        "a\r",
        "\x85\x0b\n",
    ):
        path.write_bytes(content.encode())
        expected = read_lines(path)
        assert list(stream_lines(path)) == (expected if content != "\ufeff" else [""]), content


def test_a_bad_byte_is_told_alike_whichever_way_lines_are_read(tmp_path: Path):
    path = tmp_path / "some.txt"
    path.write_bytes(b"\xef\xbb\xbfa\nb\xffc\n")
    said = []
    for read in (read_lines, lambda path: list(stream_lines(path))):
        with pytest.raises(DataError) as caught:
            read(path)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert said[0].startswith(f"{path}, line 2: byte 2 of the line (offset 6 in the file) is 0xFF, ")


@pytest.mark.parametrize("name", ["none.txt", "."])
def test_a_file_that_cannot_be_opened_is_told_alike(tmp_path: Path, name: str):
    said = []
    for read in (read_lines, check_readable, lambda path: list(stream_lines(path))):
        with pytest.raises(DataError) as caught:
            read(tmp_path / name)
        said.append(str(caught.value))
    assert said[0] == said[1] == said[2]
