"""Grafts that learn with another part than a bottleneck, from the command line and in recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Command

from polygraft.store.store import Store

PARTS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "lora": (
        ("--option", "rank=2", "--option", 'roles=["query", "up"]', "--option", "dora=true"),
        {
            "rank": 2,
            "alpha": 8.0,
            "roles": ["query", "up"],
            "skip_layers": [0],
            "rslora": False,
            "dora": True,
        },
    ),
    "ia3": ((), {"outputs": ["key", "value"], "inputs": ["down"], "skip_layers": [0]}),
    "bitfit": ((), {"weights": ["*.bias"], "skip_layers": [0]}),
    "bottleneck": (
        ("--option", "placement=parallel", "--reduction", "4"),
        {
            "reduction": 4.0,
            "activation": "relu",
            "placement": "parallel",
            "semantics": "adapterhub",
            "scaling": None,
            "skip_layers": [0],
            "init": "identity",
        },
    ),
}
TOKENS = ("train", "tokens", "--train", "tagged.conll", "--dev", "tagged.conll", "--epochs", "2")


@pytest.mark.parametrize("part", PARTS)
def test_a_task_learns_with_each_part_over_a_language(polygraft: Command, part: str):
    words, options = PARTS[part]
    done = polygraft(*TOKENS, "--name", "new", "--under", "qu", "--part", part, "--skip-layer", "0", *words)
    assert done.exit_code == 0, done.stderr
    first, head = Store("store").manifest("new").parts
    assert (first.kind, dict(first.options), head.kind) == (part, options, "head")
    checks = json.loads(polygraft("doctor", "--plan", "stack(qu, new)", "--json").stdout)["checks"]
    assert all(check["is_good"] for check in checks)
    assert polygraft("evaluate", "--plan", "stack(qu, new)", "tagged.conll").exit_code == 0


@pytest.mark.parametrize("part", ["lora", "ia3", "bitfit"])
def test_a_language_learns_with_each_part(polygraft: Command, part: str):
    words = ("train", "mlm", "--name", "new", "--train", "text.txt", "--steps", "2", "--part", part)
    assert polygraft(*words).exit_code == 0
    manifest = Store("store").manifest("new")
    assert [record.kind for record in manifest.parts] == [part]
    assert polygraft(*words, "--from-layer", "2").exit_code == 0
    second = Store("store").manifest("new")
    assert second.version == 2 and second.parts[0].options["skip_layers"] == [0, 1]


def test_several_seeds_learn_in_one_pass(polygraft: Command):
    words = (*TOKENS, "--part", "lora", "--option", "rank=2")
    assert polygraft(*words, "--name", "many", "--seeds", "0,1").exit_code == 0
    assert polygraft(*words, "--name", "alone", "--seed", "1").exit_code == 0
    store = Store("store")
    found = [
        {name: values.tolist() for name, values in store.get(name)[1].items()}
        for name in ("many-s1", "alone")
    ]
    assert found[0] == found[1]


def test_the_doctor_says_which_maps_are_changed(polygraft: Command):
    polygraft(*TOKENS, "--name", "new", "--part", "ia3", "--skip-layer", "0", "--skip-layer", "1")
    found = json.loads(polygraft("doctor", "--plan", "new", "--json").stdout)
    assert found["places"] == [
        {"layer": 2, "place": "input of down", "grafts": ["new ia3"]},
        {"layer": 2, "place": "output of key", "grafts": ["new ia3"]},
        {"layer": 2, "place": "output of value", "grafts": ["new ia3"]},
        {"layer": None, "place": "head for tokens, after all layers", "grafts": ["new head"]},
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("--part", "lora", "--reduction", "8"),
            "--reduction 8 was given with --part lora, and it is that of --part bottleneck. Expected it with a "
            "bottleneck only. Leave it out, and set options of parts with --option.",
        ),
        (
            ("--part", "lora", "--option", "rank"),
            "--option 'rank' sets nothing, or what is set already. Expected a key and a value, such as rank=16, each "
            "key once. Correct it.",
        ),
        (
            ("--part", "lora", "--option", "rank=2", "--option", "rank=3"),
            "--option 'rank=3' sets nothing, or what is set already. Expected a key and a value, such as rank=16, each "
            "key once. Correct it.",
        ),
        (
            ("--part", "lora", "--option", "rnak=2"),
            "The part 'lora' has no option 'rnak'. Its options are rank, alpha, roles, skip_layers, rslora, dora. Did "
            "you mean 'rank'? Correct the name.",
        ),
        (
            ("--part", "lora", "--option", "rank=many"),
            "The part 'lora' has rank='many'. Expected a value of the type int. Correct it.",
        ),
        (
            ("--part", "ia3", "--option", "skip_layers=[1]"),
            "The options of the part 'ia3' hold skip_layers=[1]. Expected the layers that are left out beside them: "
            "--skip-layer on the command line, skip_layers in a recipe. Write them there.",
        ),
        (
            ("--part", "lora", "--option", 'roles=["gate"]'),
            "The part 'lora' has roles with 'gate', and the base has no linear layer of that role. Expected some of "
            "query, key, value, output, up, down. Correct it.",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(polygraft: Command, words: tuple[str, ...], sentence: str):
    done = polygraft(*TOKENS, "--name", "new", *words)
    assert done.exit_code == 1
    assert " ".join(done.stderr.split()).endswith(sentence)


@pytest.mark.parametrize("part", ["lora", "ia3", "bitfit"])
def test_a_recipe_trains_its_tasks_with_each_part(polygraft: Command, part: str):
    words = ("--set", f"train.task.part={part}", "--set", "train.task.skip_layers=[0]")
    if part == "lora":
        words = (*words, "--set", "train.task.options.rank=2")
    done = polygraft("run", "recipe.toml", *words)
    assert done.exit_code == 0, done.stderr
    manifest = Store("store").manifest("ner")
    assert [record.kind for record in manifest.parts] == [part, "head"]
    assert manifest.parts[0].options["skip_layers"] == [0]
    assert manifest.parts[0].options.get("rank", 2) == 2


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ("train.task.part=lora", "train.task.reduction=8"),
            "The recipe has train.task.reduction = 8.0. Expected it with part = 'bottleneck' only, and not with "
            "'lora'. Correct the value.",
        ),
        (
            ("train.task.options.rank=8",),
            "The recipe has train.task.options = {'rank': 8}. Expected none beside part = 'bottleneck', whose options "
            "are keys of the table. Correct the value.",
        ),
        (
            ("train.task.part=lora", "train.task.method=lt-sft"),
            "The recipe has train.task.method = lt-sft. Expected none beside part = 'lora'. Correct the value.",
        ),
        (
            ("train.task.part=lora", "train.task.options.rank=0"),
            "The part 'lora' has rank=0. Expected 1 or more. Correct it; 4, 8 and 16 are common.",
        ),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused(
    polygraft: Command, settings: tuple[str, ...], sentence: str
):
    done = polygraft("run", "recipe.toml", *(word for setting in settings for word in ("--set", setting)))
    assert done.exit_code == 1
    assert sentence in " ".join(done.stderr.split())
    assert not Path("runs").exists()
