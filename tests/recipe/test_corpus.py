"""The data of a recipe against plain Python."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from tests.recipe.material import load
from tests.tiny import make_tokenizer

from polygraft.data.conll import read_conll
from polygraft.data.encode import EncodedText, encode_labelled
from polygraft.data.example import LabelledText
from polygraft.data.joined import join_lines
from polygraft.errors import DataError
from polygraft.recipe.corpus import (
    Corpus,
    Texts,
    describe_cut_rows,
    encode_texts,
    find_labels,
    join_texts,
    load_texts,
    split_lines,
    take_rows,
    take_tokens,
)

Rows = list[list[int]]
texts = some.lists(some.lists(some.integers(5, 60), min_size=1, max_size=6), min_size=1, max_size=9)


def make(rows: Rows) -> EncodedText:
    starts = np.cumsum([0, *map(len, rows)])
    return EncodedText(ids=np.array(list(chain.from_iterable(rows)), dtype=np.int32), starts=starts)


def read(text: EncodedText) -> Rows:
    return [
        text.ids[start:end].tolist() for start, end in zip(text.starts[:-1], text.starts[1:], strict=True)
    ]


@pytest.mark.parametrize(
    ("lines", "wanted", "apart"), [(2, 300, 1), (9, 300, 1), (40, 300, 4), (40, 2, 2), (40, 1, 1)]
)
def test_lines_are_kept_apart_evenly_and_none_is_lost(lines: int, wanted: int, apart: int):
    names = [f"line {number}" for number in range(lines)]
    train, held_out = split_lines(names, num_held_out=wanted)
    assert len(held_out) == apart
    assert sorted([*train, *held_out]) == sorted(names)
    assert train == [name for name in names if name in train]
    places = [names.index(name) for name in held_out]
    gaps = {after - before for before, after in pairwise(places)}
    assert gaps == set() or max(gaps) - min(gaps) <= 1


def test_of_one_line_nothing_is_kept_apart():
    assert split_lines(["only"], num_held_out=5) == (["only"], [])


def test_lines_kept_apart_that_the_tokenizer_does_not_know_are_named():
    with pytest.raises(DataError) as caught:
        encode_texts(["ana"], ["\x7f"], make_tokenizer(), max_length=16, source=Path("en.txt"))
    assert str(caught.value) == (
        "None of the 1 lines of en.txt that are kept apart has a token that the tokenizer knows. Text in the "
        "tokenizer's script was expected. Check the file, or take a base that was trained on this script."
    )


def test_one_label_is_not_enough_to_learn():
    with pytest.raises(DataError) as caught:
        find_labels([LabelledText("ana", "good", 1)], source=Path("some.tsv"))
    assert str(caught.value) == (
        "some.tsv has no label but 'good'. Two or more were expected: from one alone nothing can be learned. Check "
        "that the file is the one you meant."
    )


@pytest.mark.parametrize(("length", "said"), [(7, "2 pieces"), (8, "1 piece")])
def test_what_is_cut_of_texts_is_counted_in_pieces(length: int, said: str):
    texts = [LabelledText("ana " * 7, "good", 1), LabelledText("ana", "bad", 2)]
    encoded = encode_labelled(texts, make_tokenizer(), labels=("bad", "good"), max_length=length)
    assert describe_cut_rows(encoded, source=Path("data/some.tsv"), max_length=length) == (
        f"1 of 2 rows of some.tsv are longer than {length} tokens; what is past that ({said}) is not learned from."
    )
    assert describe_cut_rows(replace(encoded, num_cut_rows=0), source=Path("x"), max_length=9) is None


@given(some.lists(texts, min_size=1, max_size=4))
def test_joined_texts_are_their_rows_in_order(parts: list[Rows]):
    assert read(join_texts([make(rows) for rows in parts])) == list(chain.from_iterable(parts))


@given(texts, some.data())
def test_rows_are_taken_in_the_order_asked_for(rows: Rows, data: some.DataObject):
    wanted = data.draw(some.lists(some.integers(0, len(rows) - 1), min_size=1))
    assert read(take_rows(make(rows), np.array(wanted))) == [rows[place] for place in wanted]


@given(texts, some.integers(1, 60), some.integers(0, 3))
def test_about_as_many_tokens_are_taken_as_asked_for(rows: Rows, wanted: int, seed: int):
    taken = read(take_tokens(make(rows), wanted, seed=seed))
    left = list(rows)
    for row in taken:
        left.remove(row)
    num_taken, num_all = sum(map(len, taken)), sum(map(len, rows))
    assert num_taken >= min(wanted, num_all)
    assert num_taken < wanted + 6 or not left
    assert taken == read(take_tokens(make(rows), wanted, seed=seed))


@pytest.mark.usefixtures("here")
def test_the_text_of_a_language_is_read_once_and_split():
    corpus = Corpus(recipe=load(), tokenizer=make_tokenizer(), longest=10)
    found = corpus.read_language("en")
    assert corpus.read_language("en") is found
    assert (found.num_lines, int(found.train.lengths.max())) == (30, 10)
    lines = load().languages["en"].text.read_text().split("\n")
    assert found.held_out is not None
    for text, kept in ((found.train, lines[1:29]), (found.held_out, [lines[0], lines[29]])):
        assert int((text.ids >= 5).sum()) == sum(len(line.split()) for line in kept)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POLYGRAFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tokens"


def read_both(found: Texts) -> list[object]:
    assert found.held_out is not None
    return [read(found.train), read(found.held_out), found.num_lines, found.num_held_out]


@pytest.mark.usefixtures("here")
def test_a_text_is_turned_into_tokens_only_once(cache: Path, monkeypatch: pytest.MonkeyPatch):
    source, tokenizer = Path("data/en.txt"), make_tokenizer()
    first = load_texts(source, tokenizer, max_length=10, num_held_out=2)
    assert first.num_held_out == 2
    whole = load_texts(source, tokenizer, max_length=10)
    assert (whole.held_out, whole.num_held_out, whole.num_lines) == (None, 0, 30)
    monkeypatch.setattr("polygraft.recipe.corpus.read_texts", None)
    # The name of a file and the tokenizer's object do not matter, and neither does how it was last called.
    source.rename("data/moved.txt")
    other = make_tokenizer()
    other(["ana"], truncation=True, max_length=2, padding="max_length")
    again = load_texts(Path("data/moved.txt"), other, max_length=10, num_held_out=2)
    assert read_both(again) == read_both(first)
    assert load_texts(Path("data/moved.txt"), other, max_length=10).num_lines == 30
    assert len(list(cache.iterdir())) == 2


@pytest.mark.usefixtures("here")
def test_joined_lines_are_learned_from_while_sentences_are_kept_and_measured(cache: Path):
    source, tokenizer = Path("data/en.txt"), make_tokenizer()
    plain = load_texts(source, tokenizer, max_length=10, num_held_out=2)
    joined = load_texts(source, tokenizer, max_length=10, num_held_out=2, rows="joined")
    assert plain.train.goes_on is not None
    assert read(joined.train) == read(join_lines(plain.train, tokenizer, max_length=10)) != read(plain.train)
    assert read_both(joined)[1:] == read_both(plain)[1:]
    learned = source.read_text().split("\n")[1:29]
    assert joined.num_pieces == plain.num_pieces == sum(len(line.split()) for line in learned)
    assert len(list(cache.iterdir())) == 1


@pytest.mark.usefixtures("here")
def test_a_recipe_learns_from_joined_lines():
    plain, joined = load(), load("train.language.rows=joined")
    corpus = Corpus(recipe=plain, tokenizer=make_tokenizer(), longest=10)
    sentences, rows = corpus.read_language("qu"), corpus.share(joined).read_language("qu")
    assert read(rows.train) == read(join_lines(sentences.train, make_tokenizer(), max_length=10))
    assert read_both(rows)[1:] == read_both(sentences)[1:]
    assert corpus.read_language("qu") is sentences
    mixed = corpus.share(joined).read_mixed()
    # Of two texts, two rows are not full.
    assert np.sort(mixed.lengths)[2:].tolist() == [10] * (mixed.num_rows - 2)


@pytest.mark.usefixtures("here", "cache")
def test_another_text_has_other_tokens():
    source, tokenizer = Path("data/en.txt"), make_tokenizer()
    before = load_texts(source, tokenizer, max_length=10)
    source.write_text("ana\n" + source.read_text())
    longer = read(load_texts(source, tokenizer, max_length=10).train)
    assert longer == [tokenizer("ana")["input_ids"], *read(before.train)]
    assert load_texts(source, tokenizer, max_length=10, max_lines=4).num_lines == 4
    assert int(load_texts(source, tokenizer, max_length=8).train.lengths.max()) == 8
    with_word = make_tokenizer()
    with_word.add_tokens(["quyllur"])
    source.write_text("quyllur ana\n")
    assert read(load_texts(source, tokenizer, max_length=10).train) != read(
        load_texts(source, with_word, max_length=10).train
    )


@pytest.mark.usefixtures("here")
def test_a_large_text_is_told_when_it_is_turned_into_tokens(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("polygraft.recipe.corpus.LARGE_TEXT", 1)
    told: list[str] = []
    for _ in range(2):
        load_texts(Path("data/en.txt"), make_tokenizer(), max_length=10, notify=told.append)
    monkeypatch.setenv("POLYGRAFT_CACHE", "off")
    load_texts(Path("data/en.txt"), make_tokenizer(), max_length=10, notify=told.append)
    assert told == [
        f"en.txt (0 MB) is turned into tokens; they are kept in {cache}, where the next training finds them.",
        "en.txt (0 MB) is turned into tokens, as in every training: the token cache is off.",
    ]


@pytest.mark.usefixtures("here")
def test_a_recipe_keeps_its_tokens_and_tells(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("polygraft.recipe.corpus.LARGE_TEXT", 1)
    told: list[str] = []
    for _ in range(2):
        corpus = Corpus(recipe=load(), tokenizer=make_tokenizer(), longest=10, notify=told.append)
        found = corpus.read_language("en")
        assert isinstance(found.train.ids.base, np.memmap)
        assert corpus.read_with_source("en", "en") is found.train
    assert len(told) == 1
    assert len(list(cache.iterdir())) == 1


@pytest.mark.usefixtures("here")
def test_a_labelled_file_is_read_once_for_each_choice_of_columns():
    recipe = load()
    corpus, task = Corpus(recipe=recipe, tokenizer=make_tokenizer()), recipe.tasks["ner"]
    found = corpus.read_examples(task, task.train)
    assert found == read_conll(task.train)
    assert corpus.read_examples(task, task.train) is found
    assert corpus.read_examples(task, task.dev) == read_conll(task.dev)
    turned = replace(task, token_column=1, tag_column=0)
    assert corpus.read_examples(turned, task.train) == read_conll(task.train, token_column=1, tag_column=0)


@pytest.mark.usefixtures("here")
def test_a_share_of_the_sources_text_is_mixed_in():
    corpus = Corpus(recipe=load("train.language.source_share=0.25"), tokenizer=make_tokenizer())
    own, source = corpus.read_language("qu").train, corpus.read_language("en").train
    mixed = corpus.read_with_source("qu", "en")
    assert read(mixed)[: own.num_rows] == read(own)
    others = read(mixed)[own.num_rows :]
    assert all(row in read(source) for row in others)
    assert 1 / 3 <= sum(map(len, others)) / own.num_tokens <= 1 / 3 + 16 / own.num_tokens
    assert corpus.read_with_source("en", "en") is source


@pytest.mark.usefixtures("here")
def test_no_more_lines_are_read_than_wanted():
    corpus = Corpus(recipe=load("language.en.max_lines=12"), tokenizer=make_tokenizer())
    assert corpus.read_language("en").num_lines == 12
    mixed, qu = corpus.read_mixed(), corpus.read_language("qu").train
    assert mixed.num_tokens < corpus.read_language("en").train.num_tokens + qu.num_tokens
