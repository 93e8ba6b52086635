from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from tests.cli.conftest import Command


def test_tags_are_scored_by_entities_with_an_interval(polygraft: Command):
    done = polygraft("evaluate", "--plan", "stack(qu, ner)", "tagged.conll", "--json", "--language", "en")
    found = json.loads(done.stdout)
    assert (found["metric"], found["plan"], found["language"]) == ("f1", "stack(qu, ner)", "en")
    assert (found["num_sentences"], found["num_gold"]) == (2, 2)
    assert 0 <= found["low"] <= found["score"] <= found["high"] <= 1


def test_texts_are_scored_by_accuracy(polygraft: Command):
    found = json.loads(polygraft("evaluate", "--plan", "topic", "labelled.tsv", "--json").stdout)
    assert found["metric"] == "accuracy"
    assert found["score"] * 3 == pytest.approx(round(found["score"] * 3))
    assert sum(label["num_gold"] for label in found["by_type"].values()) == 3
    by_label = [label["f1"] for label in found["by_type"].values()]
    assert found["macro_f1"] == pytest.approx(sum(by_label) / len(by_label))
    assert found["perplexity"] is None


def test_text_is_scored_by_the_loss_of_the_bases_own_head(polygraft: Command):
    words = ("evaluate", "--plan", "qu", "--objective", "mlm", "text.txt", "--json")
    found = json.loads(polygraft(*words).stdout)
    assert found["metric"] == "loss"
    assert found["num_gold"] == 2  # 15 % of 13 pieces
    assert found["perplexity"] == pytest.approx(math.exp(found["score"]))
    assert found["notes"] == ["The text has 21 tokens, of which 2 were hidden."]


def test_the_table_shows_what_belongs_to_the_metric(polygraft: Command):
    labels = polygraft("evaluate", "--plan", "topic", "labelled.tsv").stdout
    assert "Macro-F1" in labels
    assert "Precision" not in labels.partition("By type")[0]
    text = polygraft("evaluate", "--plan", "qu", "--objective", "mlm", "text.txt").stdout
    assert " Loss " in text
    assert "Perplexity" in text


def test_the_table_shows_the_score_and_the_types(polygraft: Command):
    done = polygraft("evaluate", "--plan", "ner", "tagged.conll")
    assert done.exit_code == 0
    assert "Entity F1" in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith((" LOC", " PER"))] == [
        "LOC",
        "PER",
    ]


def test_a_language_that_nobody_named_is_left_out(polygraft: Command):
    assert polygraft("evaluate", "--plan", "ner", "tagged.conll").stdout.splitlines()[0] == "tokens"
    named = polygraft("evaluate", "--plan", "ner", "tagged.conll", "--language", "en")
    assert named.stdout.splitlines()[0] == "tokens, en"


def test_tags_that_training_never_saw_are_told_with_the_file(polygraft: Command):
    Path("odd.conll").write_text("ana B-DATE\nwent O\n", encoding="utf-8")
    assert polygraft("evaluate", "--plan", "ner", "odd.conll").stderr == (
        "The test file odd.conll has labels that training never saw: B-DATE. They can never be predicted, and what "
        "they mark counts as missed.\n"
    )
    Path("none.conll").write_text("ana O\nwent O\n", encoding="utf-8")
    assert polygraft("evaluate", "--plan", "ner", "none.conll").stderr == (
        "The test file has no entity: F1 is 0, whatever is predicted.\n"
    )
