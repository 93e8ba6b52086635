"""How alike the pieces of two texts are, against the formula written out."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tests.recipe.material import load
from tests.tiny import make_base, make_tokenizer

from polygraft.data.conll import read_conll
from polygraft.data.text import read_text
from polygraft.evaluate.overlap import Overlap
from polygraft.recipe.corpus import Corpus
from polygraft.recipe.overlap import count_pieces, describe_overlap, measure_overlap, measure_overlaps


def overlap(one: Counter[str], two: Counter[str]) -> float:
    """1 - JSD in bits, piece by piece."""
    divergence = 0.0
    for piece in one | two:
        p, q = one[piece] / one.total(), two[piece] / two.total()
        mean = (p + q) / 2
        divergence += sum(share * math.log2(share / mean) for share in (p, q) if share) / 2
    return 1 - divergence


def test_overlap_is_one_less_the_divergence_and_the_same_both_ways():
    rng = np.random.default_rng(0)
    one, two = rng.integers(0, 4, size=30), rng.integers(0, 9, size=30)
    wanted = overlap(*(Counter({str(n): int(v) for n, v in enumerate(counts)}) for counts in (one, two)))
    assert measure_overlap(one, two) == pytest.approx(wanted, abs=1e-12)
    assert measure_overlap(two, one) == pytest.approx(wanted, abs=1e-12)
    assert 0 < wanted < 1


def test_a_longer_text_of_the_same_words_is_no_nearer():
    counts, others = np.array([3, 1, 0, 2]), np.array([1, 1, 4, 0])
    assert measure_overlap(counts, others) == pytest.approx(measure_overlap(counts, 50 * others), abs=1e-12)


def test_what_has_no_piece_is_near_to_nothing():
    assert measure_overlap(np.zeros(3, dtype=np.int64), np.array([1, 2, 0])) == 0.0


def test_special_pieces_are_not_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("polygraft.recipe.overlap._CHUNK", 3)
    ids = np.array([0, 5, 6, 5, 3, 2, 0, 7], dtype=np.int32)
    assert count_pieces(ids, num_pieces=9, special_ids=[0, 2, 3]).tolist() == [0, 0, 0, 0, 0, 2, 1, 1, 0]


@pytest.mark.usefixtures("here")
def test_a_test_file_is_compared_with_what_every_other_language_learns_from():
    recipe, tokenizer = load('language.ay={text="qu.txt",max_lines=9}'), make_tokenizer()
    corpus = Corpus(recipe=recipe, tokenizer=make_base("bert").tokenizer)
    known = set(tokenizer.get_vocab())

    def count(words: list[str]) -> Counter[str]:
        return Counter(word for word in words if word in known)

    tested = count([word for row in read_conll(Path("data/sw.conll")) for word in row.tokens])
    learned = {}
    for name, lines in (("en", 30), ("qu", 30), ("ay", 9)):
        texts = read_text(Path(f"data/{'en' if name == 'en' else 'qu'}.txt"))[:lines]
        num_apart = max(1, min(2, lines // 10))
        apart = set(np.linspace(0, lines - 1, num_apart, dtype=int).tolist())
        learned[name] = count(
            [word for n, text in enumerate(texts) if n not in apart for word in text.split()]
        )
    found = measure_overlaps(corpus, recipe.tasks["ner"], "sw")
    assert found == pytest.approx(
        {name: overlap(tested, counts) for name, counts in learned.items()}, abs=1e-9
    )
    assert measure_overlaps(corpus, recipe.tasks["ner"], "en").keys() == {"qu", "ay"}
    overlap_of_sw = Overlap(task="ner", source="en", language="sw", by_language=found)
    assert overlap_of_sw.nearest == max(found, key=lambda name: found[name])


def test_there_may_be_no_nearest_language():
    alone = Overlap(task="ner", source="en", language="en", by_language={})
    assert alone.nearest is None
    assert describe_overlap(alone) == []
