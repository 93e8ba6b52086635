from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from polygraft.errors import DataError
from polygraft.evaluate.labels import accuracy_of_counts, label_counts_per_sentence, score_labels

labels = st.sampled_from(["NOUN", "VERB", "X", "ADJ", "é", "O"])


@given(st.lists(st.tuples(labels, labels), min_size=1, max_size=40))
def test_scores_are_those_of_scikit_learn(pairs: list[tuple[str, str]]):
    gold, predicted = (list(side) for side in zip(*pairs, strict=True))
    score = score_labels(gold, predicted)
    names = sorted({*gold, *predicted})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of labels that are only predicted.
        macro_f1 = f1_score(gold, predicted, average="macro", zero_division=0)
        by_label = precision_recall_fscore_support(gold, predicted, labels=names, zero_division=0)
    assert score.accuracy == pytest.approx(accuracy_score(gold, predicted))
    assert score.macro_f1 == pytest.approx(macro_f1)
    assert list(score.by_label) == names
    found = [(one.precision, one.recall, one.f1, one.num_gold) for one in score.by_label.values()]
    assert np.array(found) == pytest.approx(np.array(by_label).T)


def test_scores_by_hand():
    score = score_labels(["NOUN", "NOUN", "VERB", "X"], ["NOUN", "VERB", "VERB", "ADJ"])
    assert (score.accuracy, score.num_gold) == (0.5, 4)
    assert score.macro_f1 == pytest.approx((0 + 2 / 3 + 2 / 3 + 0) / 4)
    assert score.by_label["VERB"].num_predicted == 2


@given(st.lists(st.lists(st.tuples(labels, labels), max_size=6), min_size=1, max_size=8))
def test_counts_of_sentences_add_up_to_the_accuracy(sentences: list[list[tuple[str, str]]]):
    gold = [[pair[0] for pair in sentence] for sentence in sentences]
    predicted = [[pair[1] for pair in sentence] for sentence in sentences]
    counts = label_counts_per_sentence(gold, predicted)
    assert counts[:, 1].tolist() == [len(sentence) for sentence in sentences]
    if counts[:, 1].sum():
        flat = [label for sentence in gold for label in sentence], [p for s in predicted for p in s]
        assert float(accuracy_of_counts(counts.sum(axis=0))) == pytest.approx(score_labels(*flat).accuracy)


def test_the_accuracy_of_nothing_is_zero():
    assert accuracy_of_counts(np.array([[0, 0], [3, 4]])).tolist() == [0.0, 0.75]


def test_unequal_or_absent_labels_are_refused():
    with pytest.raises(DataError) as caught:
        score_labels(["X"], [])
    assert str(caught.value) == (
        "There are 1 gold labels and 0 predicted ones. Equally many were expected. Predict every item once."
    )
    with pytest.raises(DataError) as caught:
        score_labels([], [])
    assert str(caught.value) == (
        "There are no labels to score. At least one item was expected. Check what was selected."
    )
    with pytest.raises(DataError) as caught:
        label_counts_per_sentence([["X"], ["X"]], [["X"], []])
    assert str(caught.value) == (
        "There are 1 gold labels in sentence 1 and 0 predicted ones. Equally many were expected. "
        "Predict every item once."
    )
