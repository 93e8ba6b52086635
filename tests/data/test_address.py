from __future__ import annotations

from pathlib import Path

import pytest

from polygraft.data.address import Address, is_address, parse_address, place_address
from polygraft.errors import DataError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:owner/name:train", Address(place="owner/name", split="train")),
        ("hf:owner/name:en:train", Address(place="owner/name", config="en", split="train")),
        ("hf:name:en:train[:10%]", Address(place="name", config="en", split="train[:10%]")),
        ("hf:name:train[5:10]", Address(place="name", split="train[5:10]")),
        ("hf:/data/some.set", Address(place="/data/some.set")),
    ],
)
def test_an_address_is_read_and_written(text: str, expected: Address):
    assert parse_address(text) == expected
    assert str(expected) == text
    assert parse_address(Path(text)) == expected
    assert is_address(Path(text))
    assert not is_address(Path(text[3:]))


@pytest.mark.parametrize("text", ["hf:", "hf::train", "hf:a:b:c:d", "hf:a:train[", "hf:a:"])
def test_what_is_no_address_is_refused(text: str):
    with pytest.raises(DataError) as caught:
        parse_address(text)
    assert str(caught.value) == (
        f"'{text}' names no dataset. Expected hf:OWNER/NAME:SPLIT, hf:OWNER/NAME:CONFIG:SPLIT or hf:FOLDER:SPLIT. "
        "Correct it."
    )


def test_a_folder_is_looked_for_below_the_root_and_a_name_on_the_hub_stays(tmp_path: Path):
    (tmp_path / "sets" / "ner").mkdir(parents=True)
    assert place_address("hf:sets/ner:train", tmp_path) == Path(f"hf:{tmp_path}/sets/ner:train")
    assert place_address(f"hf:{tmp_path}/sets/ner", Path("else")) == Path(f"hf:{tmp_path}/sets/ner")
    assert place_address("hf:sets/pos:en:train", tmp_path) == Path("hf:sets/pos:en:train")
