"""Tokens kept on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from polygraft.data.encode import EncodedText
from polygraft.data.token_cache import CachedText, CacheKey, TokenCache

KEY = CacheKey(text="aa", tokenizer="bb", max_length=128, max_lines=None, num_held_out=300)


def make_text(size: int = 3) -> CachedText:
    ids = np.arange(10, 10 + 2 * size, dtype=np.int32)
    starts = np.array([0, 1, 2 * size], dtype=np.int64)
    return CachedText(
        encoded=EncodedText(ids=ids, starts=starts, num_cut_rows=4, num_cut_tokens=5), num_lines=7
    )


CUT = CachedText(
    encoded=dataclasses.replace(make_text().encoded, goes_on=np.array([False, True])), num_lines=1
)
"""A text of one line in two rows."""
TEXTS = {"train": make_text(), "held_out": make_text(5)}


def fail(sentence: str) -> None:
    raise AssertionError(sentence)


def check_equal(found: CachedText, wanted: CachedText) -> None:
    for name in ("ids", "starts", "goes_on"):
        values, expected = vars(found.encoded)[name], vars(wanted.encoded)[name]
        if expected is None:
            assert values is None
            continue
        assert values.tolist() == expected.tolist()
        assert values.dtype == expected.dtype
    rest = (found.num_lines, found.encoded.num_cut_rows, found.encoded.num_cut_tokens)
    assert rest == (wanted.num_lines, wanted.encoded.num_cut_rows, wanted.encoded.num_cut_tokens)


def fill(folder: Path) -> tuple[TokenCache, Path]:
    cache = TokenCache(folder / "tokens")
    cache.keep(KEY, TEXTS, notify=fail)
    return cache, folder / "tokens" / KEY.digest


def test_what_is_kept_is_found_again_and_mapped(tmp_path: Path):
    given = TokenCache(tmp_path / "tokens").keep(KEY, TEXTS, notify=fail)
    found = TokenCache(tmp_path / "tokens").find(KEY, notify=fail)
    assert found is not None
    for texts in (given, found):
        assert list(texts) == list(TEXTS)
        for name, text in texts.items():
            check_equal(text, TEXTS[name])
            assert isinstance(text.encoded.ids.base, np.memmap)
            assert not text.encoded.ids.flags.writeable
    assert [path.name for path in (tmp_path / "tokens").iterdir()] == [KEY.digest]


def test_a_text_without_lines_kept_apart_is_kept(tmp_path: Path):
    cache = TokenCache(tmp_path)
    cache.keep(KEY, {"train": make_text()}, notify=fail)
    assert list(cache.find(KEY, notify=fail) or {}) == ["train"]


def test_which_rows_go_on_with_a_line_is_kept(tmp_path: Path):
    cache = TokenCache(tmp_path)
    cache.keep(KEY, {"train": CUT, "held_out": make_text(5)}, notify=fail)
    found = cache.find(KEY, notify=fail) or {}
    check_equal(found["train"], CUT)
    check_equal(found["held_out"], make_text(5))


def test_every_field_of_the_key_makes_another_entry(tmp_path: Path):
    cache, _ = fill(tmp_path)
    others = {"text": "ab", "tokenizer": "bc", "max_length": 64, "max_lines": 9, "num_held_out": None}
    assert set(others) == {field.name for field in dataclasses.fields(CacheKey)}
    for name, value in others.items():
        assert cache.find(dataclasses.replace(KEY, **{name: value}), notify=fail) is None


def test_a_cache_that_is_off_keeps_nothing():
    cache = TokenCache(None)
    assert cache.keep(KEY, TEXTS, notify=fail) is TEXTS
    assert cache.find(KEY, notify=fail) is None


def cut_short(entry: Path) -> None:
    path = entry / "train.ids"
    path.write_bytes(path.read_bytes()[:-4])


def change_a_bit(entry: Path) -> None:
    path = entry / "held_out.ids"
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(bytes(content))


def change_facts(entry: Path, change: Callable[[dict], object]) -> None:
    facts = json.loads((entry / "facts.json").read_text())
    change(facts)
    (entry / "facts.json").write_text(json.dumps(facts))


def overlap_rows(entry: Path) -> None:
    data = np.array([0, 7, 6], dtype=np.int64).tobytes()
    (entry / "train.starts").write_bytes(data)
    change_facts(
        entry, lambda facts: facts["train"]["starts"].update(sha256=hashlib.sha256(data).hexdigest())
    )


def cut_first_row(entry: Path) -> None:
    data = np.array([True, False]).tobytes()
    (entry / "train.goes_on").write_bytes(data)
    facts = {"num_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    change_facts(entry, lambda whole: whole["train"].update(goes_on=facts))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (cut_short, "train.ids has 20 bytes where 24 were written"),
    "bit": (change_a_bit, "the sha256 of held_out.ids is not what it was"),
    "lost": (lambda entry: (entry / "held_out.starts").unlink(), "it is not what was written"),
    "no json": (lambda entry: (entry / "facts.json").write_text("{"), "it is not what was written"),
    "no text": (
        lambda entry: change_facts(entry, lambda facts: facts.pop("train")),
        "facts.json names other texts than train and held_out",
    ),
    "other text": (
        lambda entry: change_facts(entry, lambda facts: facts.update({"../../x": {}})),
        "facts.json names other texts than train and held_out",
    ),
    "no lines": (
        lambda entry: change_facts(entry, lambda facts: facts["train"].pop("num_lines")),
        "it is not what was written",
    ),
    "rows": (overlap_rows, "the rows of train do not follow each other"),
    "lines": (cut_first_row, "the lines of train are not those of its rows"),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_damaged_entry_is_told_and_made_anew(tmp_path: Path, damage: str):
    cache, entry = fill(tmp_path)
    spoil, reason = DAMAGES[damage]
    spoil(entry)
    told: list[str] = []
    assert cache.find(KEY, notify=told.append) is None
    assert told == [
        f"The tokens kept in {entry} are damaged: {reason}. Expected files as they were written. They are made anew "
        "from the text; nothing need be done."
    ]
    assert not entry.exists()
    cache.keep(KEY, TEXTS, notify=fail)
    check_equal((cache.find(KEY, notify=fail) or {})["train"], TEXTS["train"])


def test_a_folder_that_cannot_be_written_to_is_told_once_and_stops_nothing(tmp_path: Path):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "tokens"
    cache = TokenCache(folder)
    told: list[str] = []
    assert cache.find(KEY, notify=fail) is None
    for _ in range(2):
        assert cache.keep(KEY, TEXTS, notify=told.append) is TEXTS
    assert told == [
        f"Tokens cannot be kept in {folder}: Not a directory. Expected a folder that may be written to; training goes "
        "on without. Name another by POLYGRAFT_CACHE, or set it to 'off'."
    ]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    told: list[str] = []
    assert TokenCache(tmp_path).keep(KEY, TEXTS, notify=told.append) is TEXTS
    assert "No space left on device" in told[0]
    assert list(tmp_path.iterdir()) == []


def test_an_entry_that_another_process_made_first_is_taken(tmp_path: Path):
    cache, entry = fill(tmp_path)
    before = (entry / "train.ids").stat().st_ino
    check_equal(cache.keep(KEY, TEXTS, notify=fail)["train"], TEXTS["train"])
    assert (entry / "train.ids").stat().st_ino == before
    assert [path.name for path in entry.parent.iterdir()] == [entry.name]


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path):
    entry = fill(tmp_path)[1]
    folder, size = entry.parent, sum(file.stat().st_size for file in entry.iterdir())
    shutil.rmtree(entry)
    cache = TokenCache(folder, max_bytes=3 * size + 20)
    keys = [dataclasses.replace(KEY, max_length=length) for length in range(20, 24)]
    now = time.time()
    for age, key in enumerate(keys[:3]):
        cache.keep(key, TEXTS, notify=fail)
        os.utime(folder / key.digest / "facts.json", (now - 100 + age, now - 100 + age))
    assert cache.find(keys[0], notify=fail)
    cache.keep(keys[3], TEXTS, notify=fail)
    assert {path.name for path in folder.iterdir()} == {keys[place].digest for place in (0, 2, 3)}
    small = TokenCache(folder, max_bytes=1)
    small.keep(keys[1], TEXTS, notify=fail)
    assert [path.name for path in folder.iterdir()] == [keys[1].digest]


def test_what_a_crash_left_behind_is_removed_after_a_day(tmp_path: Path):
    for name, age in {".part-old": 100_000, ".part-new": 10}.items():
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    TokenCache(tmp_path).keep(KEY, TEXTS, notify=fail)
    assert {path.name for path in tmp_path.iterdir()} == {".part-new", KEY.digest}


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such permissions")
def test_others_cannot_read_the_folder(tmp_path: Path):
    _, entry = fill(tmp_path)
    assert entry.parent.stat().st_mode & 0o077 == 0
