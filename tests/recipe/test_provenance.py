"""The data of a run are known by what is in them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from tests.recipe.material import load
from tests.tiny import make_base

from polygraft.recipe.comparison import list_variants
from polygraft.recipe.corpus import Corpus
from polygraft.recipe.provenance import list_data
from polygraft.report.reader import to_plain
from polygraft.report.summary import DataSummary


def list_all(*settings: str) -> tuple[DataSummary, ...]:
    base, recipe = make_base("bert"), load(*settings)
    corpus = Corpus(recipe=recipe, tokenizer=base.tokenizer)
    return list_data([corpus.share(variant) for variant in list_variants(recipe)])


@pytest.mark.usefixtures("here")
def test_every_file_is_listed_once_with_the_digest_of_its_bytes():
    found = list_all('methods=["lora","madx"]', "seeds=[0,1]")
    assert sorted((data.use, data.language, data.file) for data in found) == [
        ("dev", "en", "dev.conll"),
        ("test", "en", "en.conll"),
        ("test", "qu", "qu.conll"),
        ("test", "sw", "sw.conll"),
        ("text", "en", "en.txt"),
        ("text", "qu", "qu.txt"),
        ("train", "en", "train.conll"),
    ]
    for data in found:
        assert data.sha256 == hashlib.sha256(Path("data", data.file).read_bytes()).hexdigest()
    assert "/" not in json.dumps(to_plain(found))


@pytest.mark.usefixtures("here")
def test_how_a_file_is_read_changes_its_digest_and_not_its_sha256():
    one, two = (
        {data.file: data for data in list_all(*settings)} for settings in ((), ("task.ner.tag_column=1",))
    )
    assert one["qu.conll"].sha256 == two["qu.conll"].sha256
    assert one["qu.conll"].digest != two["qu.conll"].digest
    assert one["qu.txt"] == two["qu.txt"]


@pytest.mark.usefixtures("here")
def test_methods_without_language_grafts_use_no_text():
    assert {data.use for data in list_all('methods=["lora"]')} == {"train", "dev", "test"}
