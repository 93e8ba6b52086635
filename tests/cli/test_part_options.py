"""Grafts that learn with another part than a bottleneck, from the command line and in recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Command
from tests.cli.learning import SEQUENCE, TEXT, TOKENS

from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.kinds import LEARNED
from polygraft.parts.prefix import Prefix
from polygraft.parts.presets import mam_graft
from polygraft.recipe.learned import list_kinds, make_learned_parts
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
    "prefix": (
        ("--option", "length=4", "--option", "reparameterization=8"),
        {
            "length": 4,
            "reparameterization": 8,
            "activation": "tanh",
            "moves_positions": False,
            "skip_layers": [0],
        },
    ),
    "prompt": (("--option", "length=4"), {"length": 4}),
    "compacter": (
        ("--option", "reduction=4", "--option", "terms=2", "--option", "placement=ffn"),
        {
            "reduction": 4,
            "terms": 2,
            "rank": 1,
            "shared": True,
            "activation": "gelu",
            "placement": "ffn",
            "skip_layers": [0],
        },
    ),
}
MAM = ("--option", "prefix.length=4", "--option", "prefix.reparameterization=8")


def list_parts(name: str = "new") -> list[tuple[str, dict[str, Any]]]:
    return [(record.kind, dict(record.options)) for record in Store("store").manifest(name).parts]


def label(polygraft: Command, plan: str) -> dict[str, Any]:
    return json.loads(polygraft("predict", "--plan", plan, "--text", "ana went to lima").stdout)


def test_every_part_that_can_be_learned_is_learned_here():
    assert set(PARTS) == set(LEARNED)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(("words", "file"), [(TOKENS, "tagged.conll"), (SEQUENCE, "labelled.tsv")])
def test_a_task_learns_with_each_part_over_a_language(
    polygraft: Command, part: str, words: tuple[str, ...], file: str
):
    options, expected = PARTS[part]
    skipped = ("--skip-layer", "0") if "skip_layers" in expected else ()
    done = polygraft(*words, "--name", "new", "--under", "qu", "--part", part, *skipped, *options)
    assert done.exit_code == 0, done.stderr
    first, (head, _) = list_parts()
    assert (first, head) == ((part, expected), "head")
    checks = json.loads(polygraft("doctor", "--plan", "stack(qu, new)", "--json").stdout)["checks"]
    assert all(check["is_good"] for check in checks)
    assert polygraft("evaluate", "--plan", "stack(qu, new)", file).exit_code == 0
    found = label(polygraft, "stack(qu, new)")
    assert len(found["labels"]) == 4 if words is TOKENS else found["label"] in ("good", "bad")


@pytest.mark.parametrize("part", [*PARTS, "invertible", "glow"])
def test_a_language_learns_with_each_part(polygraft: Command, part: str):
    options = PARTS[part][0] if part in PARTS else ()
    words = (*TEXT, "--name", "new", "--part", part, *options)
    assert polygraft(*words).exit_code == 0
    [(kind, stored)] = list_parts()
    assert kind == part
    evaluated = polygraft("evaluate", "--plan", "new", "--objective", "mlm", "text.txt", "--json")
    assert json.loads(evaluated.stdout)["score"] > 0
    assert len(label(polygraft, "stack(new, ner)")["labels"]) == 4
    if "skip_layers" in stored:
        assert polygraft(*words, "--from-layer", "2").exit_code == 0
        assert list_parts()[0][1]["skip_layers"] == [0, 1]
        assert Store("store").manifest("new").version == 2


def test_several_parts_are_learned_in_one_graft(polygraft: Command):
    words = (*TOKENS, "--part", "prompt", "--part", "lora", "--skip-layer", "0")
    options = ("--option", "prompt.length=4", "--option", "lora.rank=2")
    done = polygraft(*words, "--name", "new", *options)
    assert done.exit_code == 0, done.stderr
    prompt, lora, (head, _) = list_parts()
    assert (prompt, head) == (("prompt", {"length": 4}), "head")
    assert lora[0] == "lora" and (lora[1]["rank"], lora[1]["skip_layers"]) == (2, [0])
    assert len(label(polygraft, "new")["labels"]) == 4


def test_a_head_alone_is_a_linear_probe(polygraft: Command):
    done = polygraft(*TOKENS, "--name", "new", "--part", "head")
    assert done.exit_code == 0, done.stderr
    assert [kind for kind, _ in list_parts()] == ["head"]


def test_mix_and_match_is_a_prefix_and_a_parallel_bottleneck(polygraft: Command):
    done = polygraft(*TOKENS, "--name", "new", "--part", "mam", "--skip-layer", "0", *MAM)
    assert done.exit_code == 0, done.stderr
    parts = [Prefix(length=4, reparameterization=8, skip_layers=(0,))]
    expected = [
        *parts,
        Bottleneck(placement="parallel", reduction=2, skip_layers=(0,)),
        Head(objective="tokens", labels=("O", "B-LOC", "B-PER")),
    ]
    assert list_parts() == [(part.kind, part.to_options()) for part in expected]
    # What the preset leaves open is that of the function of the same name.
    kinds = list_kinds("mam", from_text=False)
    made = make_learned_parts("mam", {}, skip_layers=(), from_text=False, usual={})
    assert tuple(made) == mam_graft(labels=("a", "b"))[:2]
    assert kinds == ("prefix", "bottleneck")


def test_a_language_learns_a_bottleneck_with_its_reduction_beside_a_glow(polygraft: Command):
    words = (*TEXT, "--name", "new", "--part", "bottleneck", "--part", "glow", "--option", "glow.reduction=4")
    assert polygraft(*words, "--reduction", "8").exit_code == 0
    assert [(kind, options["reduction"]) for kind, options in list_parts()] == [
        ("bottleneck", 8.0),
        ("glow", 4),
    ]
    assert polygraft(*words, "--reduction", "0").exit_code == 0
    assert [kind for kind, _ in list_parts()] == ["glow"]


def test_rows_leave_room_for_the_prompts_of_all_grafts(polygraft: Command, reader: Path):
    (reader / "text.txt").write_text("ana went to the house of the moon . " * 12 + "\n" + "qam pay\n" * 20)
    assert polygraft(*TEXT, "--name", "low", "--part", "prompt", "--option", "length=8").exit_code == 0
    (reader / "tagged.conll").write_text("ana B-PER\n" * 60 + "\nlima B-LOC\nto O\n")
    words = (*TOKENS, "--name", "new", "--under", "low", "--part", "prompt", "--option", "length=5")
    done = polygraft(*words)
    assert done.exit_code == 0, done.stderr
    # Of the base's 48 positions 13 are the prompts'.
    assert (
        "1 of 2 rows of tagged.conll are longer than 35 tokens; what is past that (27 words) is not learned from."
        in " ".join(done.stderr.split())
    )
    assert polygraft("predict", "--plan", "stack(low, new)", "--text", "ana " * 60).exit_code == 0
    lines = [{"text": "ana " * 60, "plan": "stack(low, new)"}, {"text": "ana", "plan": "ner"}]
    routed = polygraft("predict", "--routed", "-", text="\n".join(map(json.dumps, lines)))
    assert routed.exit_code == 0, routed.stderr
    evaluated = polygraft("evaluate", "--plan", "low", "--objective", "mlm", "text.txt")
    assert evaluated.exit_code == 0, evaluated.stderr


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
