"""How finely a tokenizer cuts a text, counted by hand."""

from __future__ import annotations

import pytest
from tests.tiny import make_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from polygraft.data.fertility import measure_fertility


def make_subwords() -> PreTrainedTokenizerFast:
    pieces = {
        piece: number
        for number, piece in enumerate(["<unk>", "\u2581", "\u2581wa", "si", "p", "i", "\u2581w", "."])
    }
    tokenizer = Tokenizer(models.WordPiece(pieces, unk_token="<unk>", continuing_subword_prefix=""))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def test_words_pieces_single_characters_and_unknown_ones_are_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("polygraft.data.fertility._CHUNK", 1)
    tokenizer = make_subwords()
    lines = ["wasipi wasi.", "wi x"]
    pieces = [tokenizer.tokenize(line) for line in lines]
    assert pieces == [["\u2581wa", "si", "p", "i", "\u2581wa", "si", "."], ["\u2581w", "i", "<unk>"]]
    found = measure_fertility(lines, tokenizer)
    # wasipi, wasi, the mark; wi, x.
    assert (found.num_words, found.num_pieces) == (5, 10)
    # p, i, the mark; "\u2581w", i, and the unknown x.
    assert (found.num_single, found.num_unknown) == (6, 1)
    assert found.tokens_per_word == 2.0
    assert (found.single_share, found.unknown_share) == (0.6, 0.1)


def test_special_pieces_around_a_line_do_not_count():
    tokenizer = make_tokenizer()
    words = [word for word in tokenizer.get_vocab() if word.isalpha()][:3]
    found = measure_fertility([" ".join(words)], tokenizer)
    assert (found.num_words, found.num_pieces, found.num_unknown) == (3, 3, 0)


def test_an_empty_text_has_no_fertility():
    found = measure_fertility([], make_tokenizer())
    assert (found.tokens_per_word, found.single_share, found.unknown_share) == (0, 0, 0)
