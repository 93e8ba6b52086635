from __future__ import annotations

from tests.tiny import make_tokenizer

from polygraft.evaluate.words import EncodedWords


def test_words_get_the_labels_of_their_first_pieces_and_the_rest_one_label():
    sentences = [("ana", "went"), (), ("moon",) * 5]
    words = EncodedWords(sentences, make_tokenizer(), max_length=5)
    assert words.places == [0, 2]
    assert words.spread(0, ["A", "B"], rest="O") == (("A", "B"), 0)
    assert words.spread(1, ["A", "B", "C"], rest="O") == (("A", "B", "C", "O", "O"), 2)
