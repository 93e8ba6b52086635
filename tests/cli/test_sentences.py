"""Bad input of every kind: exit code 1 and one sentence, nothing on standard output."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tests.cli.conftest import Command

from polygraft.parts.table import PARTS
from polygraft.store.manifest import PartRecord
from polygraft.store.store import Store

PREDICT = ("predict", "--text", "ana", "--plan")
MISSING = (
    "An existing file was expected. Check the path; a relative one starts at the folder where the program was "
    "started."
)

CASES = {
    "a graft that is not there": (
        (*PREDICT, "stack(qu, nre)"),
        "The plan 'stack(qu, nre)' names 'nre', which is not in the store store. Did you mean 'ner'? There are ner, "
        "qu, topic. `polygraft grafts list` shows all 3.",
    ),
    "an empty store": (
        (*PREDICT, "ner", "--store", "nowhere"),
        "The plan 'ner' names 'ner', which is not among the grafts. The store nowhere is not there. A folder of grafts "
        "was expected. Check the path, or name another with --store; `polygraft quickstart` and `polygraft run` make a "
        "store.",
    ),
    "a store that holds nothing": (
        (*PREDICT, "ner", "--store", "empty"),
        "The plan 'ner' names 'ner', which is not in the store empty. The store is empty. `polygraft quickstart` or "
        "`polygraft run` fills one; --store names another.",
    ),
    "a store that is a file": (
        (*PREDICT, "ner", "--store", "text.txt"),
        "The plan 'ner' names 'ner', which is not among the grafts. The store text.txt is no folder. A folder of "
        "grafts was expected. Name the folder that holds them, as with --store, or remove what is in its place.",
    ),
    "a graft to show that another store lacks": (
        ("grafts", "show", "xyz", "--store", "one"),
        "The store one holds no graft 'xyz'. `polygraft grafts list --store one` shows all 1.",
    ),
    "a width of a billion": (
        ("train", "mlm", "--name", "x", "--train", "text.txt", "--steps", "1", "--reduction", "1e-8"),
        "The part 'bottleneck' has reduction=1e-08, which makes a width of more than 8 times what it reads. "
        "Expected a number from 0.125 to the size of what it reads. Choose a larger reduction.",
    ),
    "a plan with two heads for labels": (
        (*PREDICT, "stack(topic, ner)"),
        "The plan 'stack(topic, ner)' has 2 heads for labels: those of topic, ner. One at most was expected, since "
        "only one can score. Leave the other grafts out.",
    ),
    "a part that no polygraft has": (
        (*PREDICT, "odd", "--store", "one"),
        f"There is no part 'quantum'. Known are {', '.join(PARTS)}. Correct the name. "
        "That was version 1 of the "
        "graft 'odd', one/odd/1/graft.safetensors. Train or import the graft again, or remove it with `polygraft "
        "grafts remove odd --version 1 --store one`.",
    ),
    "a plan without its end": (
        (*PREDICT, "stack(qu"),
        "The plan 'stack(qu' ends where a comma or a closing bracket was expected. Write a graft's name, or for "
        "example stack(qu, ner).",
    ),
    "a plan without a head": (
        (*PREDICT, "qu"),
        "The plan 'qu' has no head for tokens or sequences, so it cannot label anything. Expected a task graft in "
        "it, as in stack(qu, ner). Add one.",
    ),
    "a base that is not there": (
        (*PREDICT, "ner", "--base", "./nobase"),
        "There is no folder './nobase'. Expected a Hugging Face id, a local folder with config.json, "
        "model.safetensors and tokenizer.json, or 'bundled'. Check the path.",
    ),
    "a device that is none": (
        (*PREDICT, "ner", "--device", "toaster"),
        "'toaster' is not a device. Expected auto, cpu, cuda or cuda:N. Pass one of these.",
    ),
    "a file that is not there": (
        ("predict", "--plan", "ner", "text.text"),
        f"There is no file text.text. Did you mean 'text.txt'? {MISSING}",
    ),
    "a folder where a file should be": (
        ("predict", "--plan", "ner", "store"),
        "store is a folder where a file was expected. Name one of the files in it.",
    ),
    "CoNLL with a third column": (
        ("evaluate", "--plan", "ner", "bad.conll"),
        "bad.conll, line 2: 3 columns where 2 were expected ('Cusco B-LOC x'). Separate token and tag with one space "
        "or tab, and sentences with an empty line.",
    ),
    "an objective that the head is not for": (
        ("evaluate", "--plan", "ner", "--objective", "sequence", "labelled.tsv"),
        "The head of the plan 'ner' is for 'tokens', and --objective asks for 'sequence'. Leave --objective out, or "
        "name another plan.",
    ),
    "a graft to show that is not there": (
        ("grafts", "show", "nre"),
        "The store store holds no graft 'nre'. Did you mean 'ner'? `polygraft grafts list` shows all 3.",
    ),
    "a version that is not there": (
        ("grafts", "show", "ner", "--version", "7"),
        "The store store holds no version 7 of the graft 'ner'. It holds 1. Ask for one of these.",
    ),
    "a name that is taken": (
        ("grafts", "rename", "ner", "qu"),
        "The graft 'ner' cannot be renamed to 'qu': the store store holds a graft of that name. A free name was "
        "expected. Choose another, or remove that graft first.",
    ),
    "an address without a graft": (
        ("grafts", "pull", "nothere"),
        "nothere holds no graft.json. The address of a folder with graft.json and graft.safetensors was expected. "
        "Check the address.",
    ),
    "a recipe that is not there": (
        ("run", "none.toml"),
        "There is no recipe 'none.toml'. Did you mean 'recipe.toml'? Expected a TOML file. Check the path.",
    ),
    "a setting without a value": (
        ("run", "recipe.toml", "--set", "foo"),
        "'foo' sets nothing. Expected a key and a value, such as train.language.steps=200. Correct it.",
    ),
    "a step that is not there": (
        ("run", "recipe.toml", "--dry-run", "--only", "language.qq"),
        "The recipe has no step 'language.qq'. Its steps are language.en, language.qu, task.ner-alone, "
        "task.ner, evaluate.ner. Did you mean 'language.qu'? Correct the name.",
    ),
    "a run's folder without results": (
        ("report", "store"),
        "The folder store has no results.json. The folder of a finished run was expected. `polygraft run` says at "
        "its end where that is.",
    ),
    "steps and epochs": (
        ("train", "tokens", "--name", "x", "--train", "tagged.conll", "--steps", "3", "--epochs", "4"),
        "Training has steps=3 and epochs=4. Expected one of the two. Give a number of steps or a number of epochs.",
    ),
    "a name that cannot be one": (
        ("train", "tokens", "--name", "a/b", "--train", "tagged.conll"),
        "'a/b' cannot be a graft's name. A name has 1 to 64 of the characters A-Z a-z 0-9 _ . -, begins with a letter "
        "or digit, and has no two dots in a row. Choose another name.",
    ),
}


@pytest.mark.parametrize(("words", "sentence"), CASES.values(), ids=CASES.keys())
def test_bad_input_ends_with_its_sentence(polygraft: Command, words: tuple[str, ...], sentence: str):
    Path("bad.conll").write_text("Lima B-LOC\nCusco B-LOC x\n", encoding="utf-8")
    found, tensors = Store("store").get("ner")
    odd = dataclasses.replace(found, name="odd", parts=(PartRecord(kind="quantum", options={}),))
    Store("one").put(odd, tensors)
    Path("empty").mkdir()
    done = polygraft(*words)
    assert done.stderr.splitlines()[-1] == f"error: {sentence}"
    assert (done.exit_code, done.stdout) == (1, "")


def test_a_graft_of_another_base_is_refused_and_any_base_accepts_it(polygraft: Command):
    words = (*PREDICT, "ner", "--base", "other")
    done = polygraft(*words)
    assert done.exit_code == 1
    assert done.stderr.startswith(
        "error: Graft 'ner' (store/ner/1/graft.json) was trained on another base: it carries fingerprint "
    )
    assert done.stderr.endswith(
        "Load the base it names (`polygraft grafts show ner --version 1`), or pass --any-base to try it all the same.\n"
    )
    assert polygraft(*words, "--any-base").exit_code == 0


@pytest.mark.parametrize(
    "words", [("runn",), ("predict",), ("predict", "--plan", "ner", "--colour"), ("grafts", "x")]
)
def test_a_wrong_word_is_a_usage_error(polygraft: Command, words: tuple[str, ...]):
    done = polygraft(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Usage: polygraft" in done.stderr
