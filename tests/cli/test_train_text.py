"""Language grafts on a base that reads from left to right: trained, scored, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Command
from tests.tiny import make_model, make_tokenizer

from polygraft.store.store import Store

CAUSAL = ("train", "causal", "--base", "gpt2", "--name", "qu", "--train", "text.txt", "--steps", "3")


@pytest.fixture(autouse=True)
def decoder(reader: Path) -> None:
    """A causal base beside the others, and an empty store."""
    make_model("gpt2").save_pretrained(reader / "gpt2")
    make_tokenizer().save_pretrained(reader / "gpt2")


def test_the_next_piece_is_learned_stored_and_scored(polygraft: Command):
    done = polygraft(*CAUSAL, "--store", "new", "--invertible", "--json")
    assert done.exit_code == 0, done.stderr
    manifest = Store("new").manifest("qu")
    assert manifest.objective == "causal"
    assert manifest.scores["held_out_loss"] > 0
    assert [part.kind for part in manifest.parts] == ["bottleneck", "invertible"]
    words = ("evaluate", "text.txt", "--base", "gpt2", "--store", "new", "--plan", "qu")
    found = json.loads(polygraft(*words, "--objective", "causal", "--json").stdout)
    assert found["metric"] == "loss"
    # Four lines of four, three, three and three words between the pieces that begin and end them.
    assert found["num_gold"] == 13 + 4
    assert found["notes"] == ["The text has 21 tokens, of which 17 were guessed from those before them."]
    assert 1 < found["perplexity"] < 1e4


def test_the_next_piece_is_learned_from_joined_lines(polygraft: Command):
    done = polygraft(*CAUSAL, "--store", "new", "--rows", "joined")
    assert done.exit_code == 0, done.stderr
    manifest = Store("new").manifest("qu")
    assert manifest.hyperparameters["rows"] == "joined"
    assert manifest.cost["tokens"] == 3 * (9 + 2 + 2)


def test_masked_lm_on_a_causal_base_is_refused_with_the_command_to_give(polygraft: Command):
    done = polygraft("train", "mlm", *CAUSAL[2:])
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == (
        "error: The base 'gpt2' reads from left to right, and masked language modelling (mlm) asks for pieces by what "
        "stands on both sides. Expected the objective causal, which guesses the next piece. Take `polygraft train "
        "causal`, or a base such as 'bundled'."
    )


def test_causal_training_on_a_base_that_sees_whole_rows_is_refused(polygraft: Command):
    done = polygraft("train", "causal", "--name", "en", "--train", "text.txt", "--steps", "1")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == (
        "error: The base 'base' sees whole rows, and the objective causal asks for the next piece, which it would see. "
        "Expected masked language modelling, which hides what is asked for. Take `polygraft train mlm`, or a base that "
        "reads from left to right, such as GPT-2."
    )


def test_hidden_pieces_are_not_scored_on_a_causal_base(polygraft: Command):
    polygraft(*CAUSAL, "--store", "new")
    words = ("evaluate", "text.txt", "--base", "gpt2", "--store", "new", "--plan", "qu", "--objective", "mlm")
    done = polygraft(*words)
    assert done.exit_code == 1
    assert "Expected the objective causal, which guesses the next piece." in done.stderr


@pytest.mark.parametrize(("objective", "file"), [("tokens", "tagged.conll"), ("sequence", "labelled.tsv")])
def test_tasks_are_learned_above_a_causal_language_graft(polygraft: Command, objective: str, file: str):
    polygraft(*CAUSAL, "--store", "new")
    words = ("train", objective, "--base", "gpt2", "--store", "new", "--name", "task", "--train", file)
    assert polygraft(*words, "--under", "qu", "--epochs", "2").exit_code == 0
    words = ("evaluate", file, "--base", "gpt2", "--store", "new", "--plan", "stack(qu, task)", "--json")
    assert json.loads(polygraft(*words).stdout)["num_gold"] > 0


def test_weights_are_changed_by_guessing_the_next_piece(polygraft: Command):
    words = ("prune", "lt-sft", "--base", "gpt2", "--store", "new", "--name", "qu", "--objective", "causal")
    done = polygraft(*words, "--train", "text.txt", "--steps", "2", "--density", "0.05", "--rows", "joined")
    assert done.exit_code == 0, done.stderr
    manifest = Store("new").manifest("qu")
    assert (manifest.objective, manifest.hyperparameters["rows"]) == ("causal", "joined")


def test_a_causal_base_tells_its_head(polygraft: Command):
    found = json.loads(polygraft("bases", "show", "gpt2", "--json").stdout)
    assert (found["family"], found["has_masked_lm_head"], found["has_causal_lm_head"]) == (
        "gpt2",
        False,
        True,
    )


@pytest.mark.parametrize("part", ["lora", "prefix", "prompt", "compacter", "glow", "mam"])
def test_a_language_learns_with_each_part_by_guessing_the_next_piece(polygraft: Command, part: str):
    options = ("--option", "reduction=4", "--option", "terms=2") if part == "compacter" else ()
    done = polygraft(*CAUSAL, "--store", "new", "--part", part, *options)
    assert done.exit_code == 0, done.stderr
    kinds = [record.kind for record in Store("new").manifest("qu").parts]
    assert kinds == (["prefix", "bottleneck"] if part == "mam" else [part])
    words = ("evaluate", "text.txt", "--base", "gpt2", "--store", "new", "--plan", "qu")
    assert json.loads(polygraft(*words, "--objective", "causal", "--json").stdout)["num_gold"] == 13 + 4
