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
            ("imp", "--sparsity", "1"),
            "final is 1.0. A number from 0 up to but not including 1 was expected, the share of weights that is "
            "pruned. Give one, for example 0.5.",
        ),
        (
            ("imp", "--schedule", "one-shot", "--levels", "3"),
            "num_levels is 3. 1 was expected for the schedule 'one-shot'. Give such a number, or choose another "
            "schedule.",
        ),
        (
            ("imp", "--sparsities", "0.4", "--scope", "3:5"),
            "The last axis of 'encoder.layer.0.attention.self.query.weight' has 16 weights. A multiple of 5 was "
            "expected for the scope '3:5'. Leave 'encoder.layer.0.attention.self.query.weight' out, or choose one of "
            "the scopes global, tensor, row.",
        ),
        (
            ("imp", "--sparsities", "0.6", "--scope", "2:4"),
            "sparsity is 0.6, and the scope '2:4' prunes 0.5. The same share was expected, or none. Leave the sparsity "
            "out, or choose another scope.",
        ),
        (
            ("lt-sft", "--weights", "*.wieght"),
            "The part 'mask' asks for the weights '*.wieght', and none of the base's 53 weights is that. Expected "
            "linear, bias, norm, embedding, or a pattern of names such as '*.bias'. Correct it.",
        ),
        (
            ("lt-sft", "--density", "0.00001"),
            "A sparsity of 0.99999 in the scope 'global' leaves none of 5,376 weights. At least one was expected. Give "
            "a smaller sparsity.",
        ),
        (
            ("movement", "--sparsity", "0.99999"),
            "A sparsity of 0.99999 in the scope 'global' leaves none of 5,376 weights. At least one was expected. Give "
            "a smaller sparsity.",
        ),
        (
            ("piggyback", "--values", "float16"),
            "A learned mask was to store its values in float16, and it has none: one bit a weight. Expected no number "
            "format. Leave --values out.",
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
    assert not list(Path("store/.checkpoints").glob("new*"))


def test_one_shot_is_one_level(polygraft: Command):
    done = polygraft("prune", "imp", *TAGS, "--sparsity", "0.75", "--schedule", "one-shot", "--json")
    [level] = json.loads(done.stdout)
    assert (level["name"], Store("store").manifest("new").hyperparameters["sparsity"]) == ("new", 0.75)


def test_levels_spread_over_a_schedule_are_all_told_as_json(polygraft: Command):
    words = ("--sparsity", "0.875", "--levels", "3", "--retrain", "never", "--json")
    found = json.loads(polygraft("prune", "imp", *TAGS, *words).stdout)
    assert [level["name"] for level in found] == ["new-s50", "new-s75", "new"]
    facts = [Store("store").manifest(level["name"]).hyperparameters for level in found]
    assert [fact["sparsity"] for fact in facts] == [0.5, 0.75, 0.875]


def test_a_smaller_base_is_written_and_labels_alike(polygraft: Command):
    words = ("prune", "structured", *TAGS, "--sparsity", "0.5", "--compact", "small")
    done = polygraft(*words)
    assert done.exit_code == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "The smaller base" in said and "tokens a second instead of" in said
    assert "times, the median within a round (from" in said
    text = ("--text", "qam llaqta mariya cuscoman")
    whole = polygraft("predict", "--plan", "new", *text, "--json").stdout
    assert polygraft("predict", "--base", "small", "--plan", "new-compact", *text, "--json").stdout == whole
    again = polygraft(*words)
    assert again.exit_code == 1
    assert "A smaller base was to be written to 'small', which is there already." in " ".join(
        again.stderr.split()
    )
