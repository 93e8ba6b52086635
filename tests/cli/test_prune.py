from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Command

from polygraft.store.store import Store

TAGS = ("--name", "new", "--train", "tagged.conll", "--dev", "tagged.conll", "--epochs", "2")
TEXT = ("--name", "new", "--objective", "mlm", "--train", "text.txt", "--steps", "2")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("lt-sft", *TAGS, "--density", "0.1", "--values", "float16"), ["delta", "head"]),
        (("lt-sft", *TEXT, "--weights", "linear", "--weights", "norm", "--l1", "0.1"), ["delta"]),
        (("piggyback", *TAGS, "--init", "0.02", "--threshold", "0.01"), ["mask", "head"]),
        (("packnet", *TAGS, "--sparsity", "0.5", "--scope", "global"), ["mask", "head"]),
        (
            ("movement", *TAGS, "--sparsity", "0.5", "--penalty", "0.1", "--score-lr-factor", "9"),
            ["delta", "mask", "head"],
        ),
        (
            ("structured", *TAGS, "--units", "heads", "--scope", "global", "--criterion", "fisher"),
            ["mask", "head"],
        ),
        (("imp", *TAGS, "--sparsity", "0.5", "--levels", "1", "--rewind", "start"), ["mask", "head"]),
    ],
)
def test_every_method_is_a_command(polygraft: Command, words: tuple[str, ...], parts: list[str]):
    done = polygraft("prune", *words, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)[-1]["parts"] == parts
    manifest = Store("store").manifest("new")
    assert manifest.hyperparameters["method"] == words[0]
    predicted = polygraft("predict", "--plan", "new", "--text", "qam llaqta")
    assert (predicted.exit_code == 0) == ("head" in parts)


def test_levels_are_shown_with_what_each_was_when_it_was_cut(polygraft: Command):
    done = polygraft("prune", "imp", *TAGS, "--sparsities", "0,0.5,0.75")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows if row and row[0].startswith("new")][:4] == [
        "new,",
        "new-s0",
        "new-s50",
        "new",
    ]
    assert ["Graft", "Sparsity", "When", "cut", "Retrained", "Values", "Bytes"] in rows
    assert Store("store").names() == ["ner", "new", "new-s0", "new-s50", "qu", "topic"]


def test_an_order_that_is_given_twice_is_carried_out_once(polygraft: Command):
    words = ("prune", "lt-sft", *TAGS, "--density", "0.1")
    assert polygraft(*words).exit_code == 0
    assert polygraft(*words).stderr.endswith("This very graft was made before: it is version 1 of 'new'.\n")


def test_the_log_tells_the_phases(polygraft: Command):
    polygraft("prune", "lt-sft", *TAGS, "--density", "0.1", "--log-json", "log.jsonl")
    events = [json.loads(line) for line in Path("log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [event["name"] for event in events if event["event"] == "PhaseStarted"] == [
        "new, dense",
        "new, sparse",
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("lt-stf",),
            "There is no method 'lt-stf'. Known are imp, lt-sft, piggyback, packnet, movement, structured. Did "
            "you mean 'lt-sft'? Correct the name.",
        ),
        (
            ("piggyback", "--density", "0.1"),
            "The method 'piggyback' has no --density. Its own options are --weights, --values, --init, --threshold. "
            "Leave it out.",
        ),
        (
            ("imp", "--sparsities", "0.5,0.8", "--sparsity", "0.9"),
            "Both --sparsities 0.5,0.8 and --sparsity, --levels or --schedule were given. Expected the levels "
            "themselves, or how they are spread. Leave one out.",
        ),
        (
            ("imp", "--sparsities", "half"),
            "The sparsities 'half' are no numbers. Expected shares with commas between them. Write them as in "
            "--sparsities 0.5,0.8,0.9.",
        ),
        (
            ("imp", "--sparsities", "0.8,0.5"),
            "The sparsities are 0.8, 0.5. Expected shares of the weights from 0 up to (but not) 1, each larger than "
            "the one before, such as 0.5, 0.8, 0.9. Correct them.",
        ),
        (
            ("imp", "--rewind", "begin"),
            "Pruning was to rewind to 'begin'. Expected none, start, or a number of steps. Correct it.",
        ),
        (
            ("packnet", "--sparsity", "1"),
            "The sparsities are 1. Expected shares of the weights from 0 up to (but not) 1, each larger than the one "
            "before, such as 0.5, 0.8, 0.9. Correct them.",
        ),
        (
            ("lt-sft", "--density", "0"),
            "Sparse fine-tuning has density=0. Expected a share above 0 and at most 1 of the weights, such as 0.05. "
            "Correct the number.",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(polygraft: Command, words: tuple[str, ...], sentence: str):
    done = polygraft("prune", *words, *TAGS)
    assert done.exit_code == 1
    assert done.stderr.strip().replace("\n", " ").endswith(sentence)
    assert not Path("store/new").exists()


def test_a_smaller_base_is_written_and_labels_alike(polygraft: Command):
    words = ("prune", "structured", *TAGS, "--sparsity", "0.5", "--compact", "small")
    done = polygraft(*words)
    assert done.exit_code == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "The smaller base" in said and "tokens a second instead of" in said
    text = ("--text", "qam llaqta mariya cuscoman")
    whole = polygraft("predict", "--plan", "new", *text, "--json").stdout
    assert polygraft("predict", "--base", "small", "--plan", "new-compact", *text, "--json").stdout == whole
    again = polygraft(*words)
    assert again.exit_code == 1
    assert "A smaller base was to be written to 'small', which is there already." in " ".join(
        again.stderr.split()
    )
