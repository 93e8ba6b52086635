from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import classification_report, f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

from polygraft.errors import DataError
from polygraft.evaluate.spans import (
    Span,
    SpanCounts,
    describe_odd_tags,
    f1_of_counts,
    read_spans,
    score_spans,
    span_counts_per_sentence,
)

well_formed = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])
mixed = st.sampled_from(["O", *(f"{letter}-{kind}" for letter in "BIES" for kind in ("PER", "LOC"))])
odd_tags = [
    "O",
    "B",
    "I",
    "E",
    "S",
    "B-",
    "I-",
    "I-A-B",
    "B-A-B",
    "L-PER",
    "U-PER",
    "X-LOC",
    "NOUN",
    "O-X",
    ".",
]
DOTS = (".", ".-X")
malformed = st.sampled_from([*odd_tags, ".-X", "BLOC"])
# Behind a dot, seqeval lets an entity begin where the one before began, be that in another sentence. Sentences of
# their own are compared with dots, several together without.
kept_apart = malformed.filter(lambda tag: tag not in DOTS)
kinds_of_tags = (well_formed, mixed, st.one_of(mixed, kept_apart))
sentences = st.one_of(
    *(st.lists(st.lists(tags, max_size=8), min_size=1, max_size=6) for tags in kinds_of_tags)
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[list[list[str]], list[list[str]]]:
    gold = draw(sentences)
    tags = st.one_of(mixed, kept_apart) if draw(st.booleans()) else mixed
    predicted = [[draw(st.one_of(st.just(tag), tags)) for tag in sentence] for sentence in gold]
    return gold, predicted


def seqeval_says(score, gold: list[list[str]], predicted: list[list[str]], **options) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval warns of odd tags and of sentences without entities.
        return score(gold, predicted, zero_division=0, **options)


@given(st.lists(st.one_of(mixed, malformed, st.just("X")), max_size=15))
def test_a_sentence_is_read_as_seqeval_reads_it(tags: list[str]):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [Span(kind, start, end + 1) for kind, start, end in get_entities(tags)]
    assert read_spans(tags) == expected


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("", []),
        ("O O", []),
        ("B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("I-PER I-PER B-PER", [("PER", 0, 2), ("PER", 2, 3)]),
        ("B-PER I-LOC", [("PER", 0, 1), ("LOC", 1, 2)]),
        ("O I-LOC", [("LOC", 1, 2)]),
        ("B-PER E-PER S-LOC S-LOC", [("PER", 0, 2), ("LOC", 2, 3), ("LOC", 3, 4)]),
        ("S-PER I-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("B I O I", [("_", 0, 2), ("_", 3, 4)]),
    ],
)
def test_spans_of_each_scheme(tags: str, spans: list[tuple[str, int, int]]):
    assert read_spans(tags.split()) == [Span(*span) for span in spans]


def test_an_entity_behind_a_dot_begins_in_its_own_sentence():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert get_entities([["O", "B"], [".", "I"]])[-1] == ("_", 1, 4)
    assert read_spans([".", "I"]) == [Span("_", 0, 2)]
    score = score_spans([["O", "B"], [".", "I"]], [["B", "O"], [".", "I"]])
    assert (score.num_gold, score.recall) == (2, 0.5)


def test_an_empty_tag_is_refused():
    with pytest.raises(DataError) as caught:
        read_spans(["O", ""])
    assert str(caught.value) == (
        "The tag of token 1 is empty. A letter such as O, B or I was expected. Give the token a tag."
    )


@given(pairs())
def test_scores_are_those_of_seqeval(pair: tuple[list[list[str]], list[list[str]]]):
    gold, predicted = pair
    score = score_spans(gold, predicted)
    assert score.precision == pytest.approx(seqeval_says(precision_score, gold, predicted))
    assert score.recall == pytest.approx(seqeval_says(recall_score, gold, predicted))
    assert score.f1 == pytest.approx(seqeval_says(f1_score, gold, predicted))


@given(pairs())
def test_scores_of_each_type_are_those_of_seqeval(pair: tuple[list[list[str]], list[list[str]]]):
    gold, predicted = pair
    by_type = score_spans(gold, predicted).by_type
    if not by_type:
        return
    report = seqeval_says(classification_report, gold, predicted, output_dict=True)
    assert set(report) == {*by_type, "micro avg", "macro avg", "weighted avg"}
    for name, score in by_type.items():
        assert score.precision == pytest.approx(report[name]["precision"])
        assert score.recall == pytest.approx(report[name]["recall"])
        assert score.f1 == pytest.approx(report[name]["f1-score"])
        assert score.num_gold == report[name]["support"]


@given(pairs())
def test_counts_of_sentences_add_up_to_the_score(pair: tuple[list[list[str]], list[list[str]]]):
    gold, predicted = pair
    counts = span_counts_per_sentence(gold, predicted)
    score = score_spans(gold, predicted)
    assert counts.shape == (len(gold), 3)
    assert counts[:, 1:].sum(axis=0).tolist() == [score.num_predicted, score.num_gold]
    assert float(f1_of_counts(counts.sum(axis=0))) == pytest.approx(score.f1)


def test_a_score_by_hand():
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["B-ORG", "O"]]
    predicted = [["B-PER", "I-PER", "O", "B-ORG"], ["B-ORG", "B-LOC"]]
    score = score_spans(gold, predicted)
    assert (score.precision, score.recall) == (0.5, 2 / 3)
    assert score.f1 == pytest.approx(4 / 7)
    assert list(score.by_type) == ["LOC", "ORG", "PER"]
    assert (score.by_type["ORG"].precision, score.by_type["ORG"].recall) == (0.5, 1.0)
    assert (score.num_gold, score.num_predicted) == (3, 4)
    assert span_counts_per_sentence(gold, predicted).tolist() == [[1, 2, 2], [1, 2, 1]]


def test_nothing_gold_and_nothing_predicted_is_zero():
    assert score_spans([], []) == score_spans([["O", "O"]], [["O", "O"]])
    score = score_spans([["O", "O"]], [["O", "O"]])
    assert (score.precision, score.recall, score.f1, score.num_gold, dict(score.by_type)) == (0, 0, 0, 0, {})


def test_counts_can_be_added():
    assert SpanCounts(1, 2, 3) + SpanCounts(4, 5, 6) == SpanCounts(5, 7, 9)
    assert SpanCounts(1, 2, 4).f1 == pytest.approx(1 / 3)


def test_f1_of_many_counts_at_once():
    counts = np.array([[[1, 2, 2], [0, 0, 0]], [[3, 3, 3], [0, 5, 5]]])
    assert f1_of_counts(counts).tolist() == [[0.5, 0.0], [1.0, 0.0]]


def test_unequal_numbers_are_refused():
    with pytest.raises(DataError) as caught:
        score_spans([["O"]], [])
    assert str(caught.value) == (
        "There are 1 gold sentences and 0 predicted ones. Equally many were expected. "
        "Predict every sentence once."
    )
    with pytest.raises(DataError) as caught:
        score_spans([["O"], ["O", "O"]], [["O"], ["O"]])
    assert str(caught.value) == (
        "Sentence 1 has 2 gold tags and 1 predicted ones. Equally many were expected. "
        "Predict one tag for every word, cut-off words included."
    )


def test_tags_that_scores_read_oddly_are_told_with_how_they_are_read():
    assert describe_odd_tags(["O", "B-LOC", "B_LOC", "FOO", "OTHER"], source="train.conll") == (
        "train.conll has tags without a hyphen after the first letter, beside such as B-LOC. They are learned as they "
        "are, and scores read all after the first letter as an entity's type: 'B_LOC' (type '_LOC'), 'FOO' (type "
        "'OO'), 'OTHER' (no entity). Expected O, or a letter, a hyphen and a type. Correct them in the file if they "
        "are not meant so."
    )
