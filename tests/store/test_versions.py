"""The versions in a graft's folder, and which of them its name means."""

from __future__ import annotations

from pathlib import Path

import pytest

from polygraft.errors import StoreError
from polygraft.store.versions import (
    check_versions,
    find_free_version,
    is_version,
    list_versions,
    read_latest,
    say_versions,
    write_latest,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("1", "2", "10", "01", "x"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_versions_are_whole_numbers_from_1_without_leading_zeros():
    fine = ["1", "9", "10", "999999999"]
    assert [
        text for text in [*fine, "0", "01", "-1", "1.0", "", "1\n", "1000000000"] if is_version(text)
    ] == fine


def test_versions_are_listed_by_number_and_the_next_is_above_whatever_has_such_a_name(folder: Path):
    assert list_versions(folder) == [1, 2, 10]
    (folder / "12").write_text("", encoding="utf-8")
    assert (list_versions(folder), find_free_version(folder)) == ([1, 2, 10], 13)
    assert (list_versions(folder / "none"), find_free_version(folder / "none")) == ([], 1)


def test_a_version_must_be_a_folder(folder: Path):
    check_versions(folder)
    (folder / "3").symlink_to("1")
    with pytest.raises(StoreError, match=r"/3 is a symbolic link where a folder was expected\."):
        check_versions(folder)


def test_a_name_means_what_was_written_and_the_newest_otherwise(folder: Path):
    found = list_versions(folder)
    assert read_latest(folder, found) == 10
    write_latest(folder, 2, unfinished=folder / "unfinished")
    assert read_latest(folder, found) == 2
    assert not (folder / "unfinished").exists()


@pytest.mark.parametrize("text", ["3\n", "x\n", "2\n\n", ""])
def test_a_name_that_means_what_is_not_there_is_refused(folder: Path, text: str):
    (folder / "latest").write_text(text, encoding="utf-8")
    with pytest.raises(StoreError) as caught:
        read_latest(folder, [1, 2, 10])
    shown = repr(text.removesuffix("\n"))
    assert str(caught.value) == (
        f"{folder / 'latest'} holds {shown}, where one of the versions 1, 2, 10 was expected. The file was changed "
        "after it was written. Ask for a version by its number, or remove the file to use the newest."
    )


def test_of_many_versions_the_newest_are_said():
    assert say_versions(range(1, 15)) == "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14"
    assert say_versions(range(1, 16)) == "..., 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15"
