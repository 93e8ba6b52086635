from __future__ import annotations

import pytest
from tests.report.sample import make_examples

from polygraft.report.examples import build_examples
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
