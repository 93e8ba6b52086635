from __future__ import annotations

import dataclasses

import pytest
from tests.report.sample import make_examples, make_result
from tests.report.study import make_study

from polygraft.report.examples import Line, build_examples, join_methods
from polygraft.report.summary import ExampleSummary

TOKENS = ("Inka", "Garcilaso", "paqarirqan", "Qusqu")
GOLD = ("B-PER", "I-PER", "O", "B-LOC")


def verdicts(
    *predicted: str, gold: tuple[str, ...] | None = GOLD
) -> list[tuple[str, str | None, str | None]]:
    example = ExampleSummary(language="qu", tokens=TOKENS, gold=gold, predicted={"target": predicted})
    return [
        (piece.text, piece.type, piece.verdict) for piece in build_examples([example])[0].lines[-1].pieces
    ]


def test_what_is_right_has_no_verdict():
    assert verdicts(*GOLD) == [
        ("Inka Garcilaso", "PER", None),
        ("paqarirqan", None, None),
        ("Qusqu", "LOC", None),
    ]


@pytest.mark.parametrize(
    ("predicted", "piece"),
    [
        (("B-ORG", "I-ORG", "O", "B-LOC"), ("Inka Garcilaso", "ORG", "should be PER")),
        (("O", "B-PER", "O", "B-LOC"), ("Garcilaso", "PER", "should be ‘Inka Garcilaso’ PER")),
        (("B-PER", "I-PER", "B-LOC", "B-LOC"), ("paqarirqan", "LOC", "not an entity")),
        (("B-PER", "I-PER", "O", "O"), ("Qusqu", "LOC", "missed")),
    ],
)
def test_each_kind_of_error_is_said(predicted: tuple[str, ...], piece: tuple[str, str, str]):
    assert piece in verdicts(*predicted)


def test_without_gold_nothing_is_judged():
    assert verdicts("B-PER", "O", "O", "O", gold=None) == [
        ("Inka", "PER", None),
        ("Garcilaso paqarirqan Qusqu", None, None),
    ]


def test_each_line_says_how_many_were_found():
    first = build_examples(make_examples())[0]
    assert [(line.label, line.note) for line in first.lines] == [
        ("gold", None),
        ("task alone", "1 of 4 found, 2 wrong"),
        ("source", "2 of 4 found, 1 wrong"),
        ("target", "3 of 4 found, 1 wrong"),
    ]


def test_every_token_is_shown_once_and_in_order():
    for example, summary in zip(build_examples(make_examples()), make_examples(), strict=True):
        for line in example.lines:
            assert " ".join(piece.text for piece in line.pieces) == " ".join(summary.tokens)


def test_a_type_has_the_same_colour_in_every_example():
    pieces = [p for e in build_examples(make_examples()) for line in e.lines for p in line.pieces if p.type]
    assert len({(piece.type, piece.colour) for piece in pieces}) == 4


def test_a_sentence_without_entities_and_one_without_words_are_shown():
    empty = ExampleSummary(language="qu", tokens=(), gold=(), predicted={"target": ()})
    assert [line.note for line in build_examples([empty])[0].lines] == [None, "nothing to find"]


STUDY = make_study()


def read_lines(title: str) -> list[dict[str, Line]]:
    """The lines of each of the study's examples under a title, by label."""
    shown = build_examples(join_methods(STUDY.examples), STUDY.results)
    return [{line.label: line for line in example.lines} for example in shown if example.title == title]


def test_tags_that_are_no_spans_are_shown_whole_and_word_by_word():
    [lines] = read_lines("Hausa, pos")
    words = ["Yaron", "suna", "karatu", "a", "makaranta", "."]
    assert [(piece.text, piece.type, piece.verdict) for piece in lines["gold"].pieces] == list(
        zip(words, ["NOUN", "PRON", "VERB", "ADP", "NOUN", "PUNCT"], [None] * 6, strict=True)
    )
    first, *others = lines["sequential"].pieces
    assert (first.text, first.type, first.verdict) == ("Yaron", "PROPN", "should be NOUN")
    assert [piece.verdict for piece in others] == [None] * 5
    assert [lines[name].note for name in ("gold", "full", "sequential")] == [
        None,
        "6 of 6 words right",
        "5 of 6 words right",
    ]


def test_equal_neighbours_are_two_words():
    example = ExampleSummary(
        language="qu", tokens=("a", "b"), gold=("PROPN", "PROPN"), predicted={}, metric="accuracy"
    )
    [line] = build_examples([example])[0].lines
    assert [(piece.text, piece.type) for piece in line.pieces] == [("a", "PROPN"), ("b", "PROPN")]


def test_a_text_stands_once_and_its_labels_below_it():
    politics, sports = read_lines("Hausa, topic")
    [text] = politics["text"].pieces
    assert text.text == "Hukumar zabe ta sanar da sakamakon zaben gwamna a Kano."
    told = {
        name: [(piece.text, piece.type, piece.verdict) for piece in politics[name].pieces]
        for name in ("gold", "full", "sequential")
    }
    assert told == {
        "gold": [("", "politics", None)],
        "full": [("", "politics", None)],
        "sequential": [("", "business", "should be politics")],
    }
    assert (politics["full"].note, politics["sequential"].note) == ("right", "wrong")
    assert {line.note for name, line in sports.items() if name not in ("text", "gold")} == {"right"}


def test_an_older_file_tells_by_its_results_or_its_tags_what_is_marked():
    tags = ("B-X", "O")
    example = ExampleSummary(language="qu", tokens=("a", "b"), gold=tags, predicted={}, task="ner")
    result = make_result("qu", "target", score=0.5, half=None)
    by_metric = {
        metric: build_examples([example], [dataclasses.replace(result, metric=metric)])[0].lines[0].pieces
        for metric in ("f1", "accuracy", "loss")
    }
    assert [piece.type for piece in by_metric["accuracy"]] == ["B-X", "O"]
    assert [piece.type for piece in by_metric["f1"]] == ["X", None]
    assert by_metric["loss"] == by_metric["f1"]
    plain = dataclasses.replace(example, gold=("NOUN", "O"))
    assert [piece.type for piece in build_examples([plain])[0].lines[0].pieces] == ["NOUN", "O"]
