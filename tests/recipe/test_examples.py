"""Which sentences and texts of a test set a report shows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.report.sample import make_result

from polygraft.data.example import LabelledText, TaggedSentence
from polygraft.recipe.examples import choose_places, gather_examples
from polygraft.recipe.score import Scored, Scores
from polygraft.report.summary import ExampleSummary


def make_sentence(number: int, *, words: int, tagged: bool) -> TaggedSentence:
    tags = ["O"] * words
    if tagged:
        tags[0] = "B-LOC"
    return TaggedSentence(tuple(f"w{number}" for _ in range(words)), tuple(tags), number)


def make_texts(count: int) -> list[LabelledText]:
    return [LabelledText(f"text {number}", "a", number) for number in range(count)]


def read(wrong: set[int], count: int) -> dict[str, list[tuple[str]]]:
    """What a method predicted: `b`, which is wrong, for some of the texts; another condition is always right."""
    return {"none": [("a",)] * count, "target": [("b" if n in wrong else "a",) for n in range(count)]}


def test_sentences_are_readable_have_something_to_find_and_spread_over_the_file():
    sentences = [make_sentence(number, words=5, tagged=number % 2 == 0) for number in range(36)]
    sentences += [make_sentence(90, words=3, tagged=True), make_sentence(91, words=25, tagged=True)]
    assert choose_places(sentences, []) == [0, 6, 12, 18, 24, 30]


def test_some_texts_are_wrong_and_some_right_in_turn():
    chosen = choose_places(make_texts(40), [read({5, 6, 7, 30, 39}, 40)])
    assert len(set(chosen)) == 6
    assert [place in {5, 6, 7, 30, 39} for place in chosen] == [True, False] * 3


def test_texts_on_which_methods_differ_come_before_those_that_all_got_wrong():
    chosen = choose_places(make_texts(12), [read({1, 2, 3, 4, 8}, 12), read({1, 2, 3}, 12)])
    assert chosen[0] in {4, 8}
    assert len([place for place in chosen if place in {4, 8}]) == 2


def test_where_all_are_right_or_all_wrong_there_are_examples_too():
    assert len(choose_places(make_texts(9), [read(set(), 9)])) == 6
    assert len(choose_places(make_texts(9), [read(set(range(9)), 9)])) == 6
    assert choose_places(make_texts(2), [read({1}, 2)]) == [1, 0]
    assert choose_places([], []) == []


def test_long_texts_are_shown_only_where_there_are_no_others():
    long = [LabelledText("x" * (500 + number), "a", number) for number in range(9)]
    assert choose_places(long, [read({0}, 9)])[0] == 0
    assert choose_places([*long, *make_texts(1)], [read({0}, 10)]) == [9]


def make_step(method: str, seed: int, labels: dict[str, Any] | None, *, kept: tuple[Any, ...] = ()) -> Scored:
    """A scoring step of a test set of eight texts, and what it predicted."""
    task = SimpleNamespace(task=None, source="en", test={"qu": "test.tsv"})
    recipe = SimpleNamespace(seed=seed, variant=SimpleNamespace(method=method), tasks={"topic": task})
    corpus = SimpleNamespace(read_examples=lambda task, path: make_texts(8))
    workshop: Any = SimpleNamespace(recipe=recipe, corpus=corpus)
    job: Any = SimpleNamespace(task="topic")
    result = make_result("qu", "target", score=0.5, half=None)
    scores = Scores(results=(result,), gains=(), examples=kept)
    return Scored(workshop=workshop, job=job, scores=scores, labels=labels)


def test_all_methods_show_the_same_texts_with_what_the_first_seed_gave():
    steps = [
        make_step("lora", 3, {"qu": read({1}, 8)}),
        make_step("full", 3, {"qu": read({2}, 8)}),
        make_step("lora", 4, {"qu": read(set(), 8)}),
    ]
    found = gather_examples(steps)
    told = {(each.method, each.tokens): each.predicted["target"] for each in found}
    assert {tokens for method, tokens in told if method == "lora"} == {
        tokens for method, tokens in told if method == "full"
    }
    assert len(found) == len(told) == 12
    assert told["lora", ("text 1",)] == told["full", ("text 2",)] == ("b",)
    assert told["lora", ("text 2",)] == told["full", ("text 1",)] == ("a",)
    assert {
        (each.task, each.language, each.source, each.gold, each.metric, each.is_text) for each in found
    } == {("topic", "qu", "en", ("a",), "f1", True)}


def test_examples_of_an_older_step_without_labels_stay():
    kept = ExampleSummary(language="qu", tokens=("x",), gold=("O",), predicted={})
    [found] = gather_examples([make_step("lora", 0, None, kept=(kept,))])
    assert (found.tokens, found.method) == (("x",), "lora")
