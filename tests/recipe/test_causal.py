"""A recipe on a base that reads from left to right: language grafts guess the next piece."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.recipe.material import find_end, load, run_all
from tests.tiny import make_model, make_tokenizer

from polygraft.store.store import Store


def write_base(folder: Path, name: str, *, with_head: bool = True) -> None:
    shutil.rmtree(folder)
    whole = make_model(name)
    (whole if with_head else whole.base_model).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3"])
def test_language_grafts_and_tasks_are_trained_and_scored(here: Path, name: str):
    write_base(here / "base", name)
    events = run_all(load("train.language.invertible=true"))
    results = find_end(events).summary.results
    assert [result.plan for result in results if result.language == "qu"] == [
        "ner-alone",
        "ner",
        "stack(en, ner)",
        "stack(qu, ner)",
    ]
    store = Store(load().store)
    for language in ("en", "qu"):
        manifest = store.manifest(language)
        assert manifest.objective == "causal"
        assert manifest.scores["held_out_loss"] > 0
        assert manifest.trained_under == language
        assert "mask_rate" not in manifest.hyperparameters
    assert store.manifest("ner").trained_under == "stack(en, ner)"


def test_a_bare_decoder_gets_a_head_for_the_next_piece_first(here: Path):
    write_base(here / "base", "llama", with_head=False)
    run_all(load())
    store = Store(load().store)
    assert [
        record.options["objective"] for record in store.manifest("mlm").parts if record.kind == "head"
    ] == ["causal"]
    assert store.manifest("mlm").objective == "causal"
    assert store.manifest("qu").trained_under == "stack(mlm, qu)"
