"""What a run notes of its data."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.recipe.material import (
    BARE,
    HEADED,
    find_end,
    list_sentences,
    load,
    run_all,
)

from polygraft.base.load import load_base
from polygraft.errors import DataError
from polygraft.recipe.corpus import Corpus
from polygraft.store.store import Store


def test_a_tag_that_training_never_saw_gets_a_note(here: Path):
    with Path("data/sw.conll").open("a", encoding="utf-8") as file:
        file.write("\nmoon\tB-DATE\nwater\tO\n")
    summary = find_end(run_all(load(*HEADED))).summary
    note = (
        "The test file has labels that training never saw: B-DATE. They can never be predicted, and what they mark "
        "counts as missed."
    )
    assert summary.notes == (f"ner, Swahili test: {note}",)
    assert {result.language for result in summary.results if note in result.notes} == {"sw"}


def test_tags_without_a_hyphen_beside_others_get_a_note(here: Path):
    with Path("data/train.conll").open("a", encoding="utf-8") as file:
        file.write("\nlima\tB_LOC\nwater\tO\n")
    assert list_sentences(run_all(load(*HEADED), only=["task.ner-alone"]))[0] == (
        "train.conll has tags without a hyphen after the first letter, beside such as B-LOC. They are learned as they "
        "are, and scores read all after the first letter as an entity's type: 'B_LOC' (type '_LOC'). Expected O, or a "
        "letter, a hyphen and a type. Correct them in the file if they are not meant so."
    )


def test_rows_that_are_too_long_get_a_note(here: Path):
    words = "\n".join("ana\tB-PER" for _ in range(60))
    with Path("data/train.conll").open("a", encoding="utf-8") as file:
        file.write(f"\n{words}\n")
    sentences = list_sentences(run_all(load(*HEADED), only=["task.ner-alone"]))
    assert sentences[0] == (
        "1 of 31 rows of train.conll are longer than 40 tokens; what is past that (22 words) is not learned from."
    )


def test_a_text_of_one_line_has_no_held_out_loss(here: Path):
    Path("data/qu.txt").write_text("ana went to the house\n")
    events = run_all(load(*HEADED, "train.language.strength=0.5"), only=["language.qu"])
    assert list_sentences(events)[0] == (
        "Only one line of qu.txt is there to learn from: none is kept apart, and no held-out loss is measured. Give "
        "two or more lines, better some hundred."
    )
    manifest = Store(Path("store")).manifest("qu")
    assert manifest.scores == {}
    assert not any("dev" in point for point in manifest.curve)


def test_text_that_the_tokenizer_does_not_know_is_named(here: Path):
    Path("data/qu.txt").write_text("\x7f\n\x7f\n\x7f\n")
    with pytest.raises(DataError) as caught:
        run_all(load(*HEADED), only=["language.qu"])
    assert str(caught.value) == (
        "None of the 3 lines of data/qu.txt has a token that the tokenizer knows. Text in the tokenizer's script was "
        "expected. Check the file, or take a base that was trained on this script."
    )


def test_a_text_that_is_not_used_whole_for_the_masked_lm_head_gets_a_note(here: Path):
    path = here / "data" / "en.txt"
    path.write_text(path.read_text() * 20)
    events = run_all(load(*BARE), only=["mlm"])
    [sentence] = [text for text in list_sentences(events) if text.startswith("The masked-LM head")]
    corpus = Corpus(recipe=load(*BARE), tokenizer=load_base("bare", device="cpu").tokenizer)
    whole = sum(corpus.read_language(name).train.num_tokens for name in ("en", "qu"))
    smallest = corpus.read_language("qu").train.num_tokens
    used = corpus.read_mixed().num_tokens
    assert sentence == (
        f"The masked-LM head is learned from {used:,} of the languages' {whole:,} tokens: of each language at most "
        "twice as many as the smallest text has."
    )
    assert 2 * smallest < used < 3.2 * smallest
