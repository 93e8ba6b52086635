"""Grafts that learn with another part than a bottleneck, from the command line and in recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Command

from polygraft.errors import BaseModelError
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
TOKENS = ("train", "tokens", "--train", "tagged.conll", "--dev", "tagged.conll", "--epochs", "2")
SEQUENCE = ("train", "sequence", "--train", "labelled.tsv", "--dev", "labelled.tsv", "--epochs", "2")
KNOWN = "Expected one of bottleneck, lora, ia3, bitfit, prefix, prompt, compacter, mam."
TEXT = ("train", "mlm", "--train", "text.txt", "--steps", "2")


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


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("--part", "lora", "--reduction", "8"),
            "--reduction 8 was given with --part lora, and it is that of --part bottleneck. Expected it with a "
            "bottleneck only. Leave it out, and set options of parts with --option.",
        ),
        (
            ("--part", "mam", "--reduction", "8"),
            "--reduction 8 was given with --part mam, and it is that of --part bottleneck. Expected it with a "
            "bottleneck only. Leave it out, and set options of parts with --option.",
        ),
        (
            ("--part", "lroa"),
            f"A graft was to learn with the part 'lroa'. {KNOWN} Did you mean 'lora'? Choose one.",
        ),
        (
            ("--part", "delta"),
            f"A graft was to learn with the part 'delta', which `polygraft prune lt-sft` makes. {KNOWN} Choose one, "
            "or make 'delta' that way.",
        ),
        (
            ("--part", "mask"),
            "A graft was to learn with the part 'mask', which `polygraft prune` makes by the methods imp, piggyback, "
            f"movement and packnet. {KNOWN} Choose one, or make 'mask' that way.",
        ),
        (
            ("--part", "scores"),
            "A graft was to learn with the part 'scores', which a mask is learned with by `polygraft prune` and the "
            f"methods piggyback and movement. {KNOWN} Choose one, or make 'scores' that way.",
        ),
        (
            ("--part", "fusion"),
            "A graft was to learn with the part 'fusion', which --fuse of `polygraft train tokens` and `polygraft "
            f"train sequence` makes. {KNOWN} Choose one, or make 'fusion' that way.",
        ),
        (
            ("--part", "head", "--part", "lora"),
            "A graft was to learn with the part 'head', which every graft that learns labels has beside its part, and "
            f"one that learns from text with --head-layer. {KNOWN} Choose one, or make 'head' that way.",
        ),
        (
            ("--part", "glow"),
            f"A graft was to learn labels with the part 'glow', which changes the embeddings for a language. {KNOWN} "
            "Choose one, or give 'glow' to the language: `polygraft train mlm --part glow`, or part of "
            "[train.language].",
        ),
        (
            ("--part", "lora", "--part", "lora"),
            "A graft was to learn with the part 'lora' twice. Expected each once, those of mam among them. Leave one "
            "out.",
        ),
        (
            ("--part", "prefix", "--part", "mam"),
            "A graft was to learn with the part 'prefix' twice. Expected each once, those of mam among them. Leave "
            "one out.",
        ),
        (
            ("--part", "prompt", "--skip-layer", "0", "--skip-layer", "1"),
            "--skip-layer 0 --skip-layer 1 was to leave out layers, and the graft learns with prompt, which stands in "
            "no layer. Expected it with parts that do, such as a bottleneck or a prefix. Leave it out.",
        ),
        (
            ("--part", "prompt", "--option", "skip_layers=[0]"),
            "The part 'prompt' has no option 'skip_layers'. Its options are length. Correct the name.",
        ),
        (
            ("--part", "prefix", "--part", "lora", "--option", "length=20"),
            "The options hold length = 20, and the graft learns with prefix and lora. Expected each option below the "
            "name of its part: prefix.KEY=VALUE on the command line, a table options.prefix in a recipe. Write it "
            "there.",
        ),
        (
            ("--part", "prefix", "--part", "lora", "--option", "prefx.length=20"),
            "The options hold prefx = {'length': 20}, and the graft learns with prefix and lora. Expected each option "
            "below the name of its part: prefix.KEY=VALUE on the command line, a table options.prefix in a recipe. "
            "Did you mean 'prefix'? Write it there.",
        ),
        (
            ("--part", "prompt", "--option", "length=41"),
            "A prompt of 41 was to stand before rows on the base 'base', which has 48 positions. Expected room for 8 "
            "pieces or more beside it. Take a prompt of at most 40; where grafts stand over each other, that is for "
            "all of their prompts together.",
        ),
        (
            ("--part", "lora", "--fuse", "qu"),
            "The graft 'new' was to mix other grafts and to learn with the part 'lora'. Expected one of the two. "
            "Leave out --fuse, or --part and --option.",
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


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("--part", "invertible", "--invertible"),
            "The graft 'new' was to have an invertible part twice, by --invertible and by --part. Expected it once. "
            "Leave out one of the two.",
        ),
        (
            ("--part", "glow", "--from-layer", "1"),
            "--from-layer 1 was to leave out layers, and the graft learns with glow, which stands in no layer. "
            "Expected it with parts that do, such as a bottleneck or a prefix. Leave it out.",
        ),
        (
            ("--part", "head"),
            "A graft was to learn with the part 'head', which every graft that learns labels has beside its part, and "
            "one that learns from text with --head-layer. Expected one of bottleneck, lora, ia3, bitfit, prefix, "
            "prompt, compacter, invertible, glow, mam. Choose one, or make 'head' that way.",
        ),
    ],
)
def test_what_a_language_cannot_learn_with_is_refused(
    polygraft: Command, words: tuple[str, ...], sentence: str
):
    done = polygraft(*TEXT, "--name", "new", *words)
    assert done.exit_code == 1
    assert " ".join(done.stderr.split()).endswith(sentence)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            (*TOKENS, "--part", "lora", "--option", "rnak=2"),
            "The part 'lora' has no option 'rnak'. Its options are rank, alpha, roles, skip_layers, rslora, dora. Did "
            "you mean 'rank'? Correct the name.",
        ),
        (
            (*TOKENS, "--part", "lora", "--option", "rank=many"),
            "The part 'lora' has rank='many'. Expected a value of the type int. Correct it.",
        ),
        (
            (*TOKENS, "--part", "lora", "--option", "rank=0"),
            "The part 'lora' has rank=0. Expected 1 or more. Correct it; 4, 8 and 16 are common.",
        ),
        (
            (*TOKENS, "--part", "lora", "--option", 'roles=["vlaue"]'),
            "The part 'lora' has roles with 'vlaue', which is no role of a linear layer. Expected some of query, key, "
            "value, output, up, gate, down. Did you mean 'value'? Correct it.",
        ),
        (
            (*TOKENS, "--part", "ia3", "--option", 'inputs=["down", "down"]'),
            "The part 'ia3' has inputs with 'down' twice. Expected each role once. Leave one out.",
        ),
        (
            (*TOKENS, "--part", "bitfit", "--option", "weights=[]"),
            "The part 'bitfit' has no weights, so it would change nothing. Expected roles or patterns of names, such "
            "as '*.bias'. Name at least one.",
        ),
        (
            (*TOKENS, "--part", "compacter", "--option", "reduction=0"),
            "The part 'compacter' has reduction=0, which makes no width. Expected a number from 0.125 to the size of "
            "what it reads. Choose a larger reduction.",
        ),
        (
            (*TOKENS, "--option", "placement=paralel"),
            "The part 'bottleneck' has placement='paralel'. Expected one of ffn, attention+ffn, parallel. Did you "
            "mean 'parallel'? Choose one.",
        ),
        (
            (*TOKENS, "--part", "prefix", "--part", "lora", "--option", "length=20"),
            "The options hold length = 20, and the graft learns with prefix and lora. Expected each option below the "
            "name of its part: prefix.KEY=VALUE on the command line, a table options.prefix in a recipe. Write it "
            "there.",
        ),
        (
            (*TOKENS, "--part", "ia3", "--option", "skip_layers=[1]"),
            "The options of the part 'ia3' hold skip_layers=[1]. Expected the layers that are left out beside them: "
            "--skip-layer on the command line, skip_layers in a recipe. Write them there.",
        ),
        (
            (*TOKENS, "--part", "prompt", "--skip-layer", "0"),
            "--skip-layer 0 was to leave out layers, and the graft learns with prompt, which stands in no layer. "
            "Expected it with parts that do, such as a bottleneck or a prefix. Leave it out.",
        ),
        (
            (*TOKENS, "--part", "lora", "--fuse", "qu"),
            "The graft 'new' was to mix other grafts and to learn with the part 'lora'. Expected one of the two. "
            "Leave out --fuse, or --part and --option.",
        ),
        (
            (*TOKENS, "--part", "lora", "--option", "rank=many", "--seeds", "0,1"),
            "The part 'lora' has rank='many'. Expected a value of the type int. Correct it.",
        ),
        (
            (*TEXT, "--part", "glow", "--option", "activation=rleu"),
            "There is no activation 'rleu'. Known are relu, gelu, gelu_new, swish, tanh, leakyrelu, sigmoid, linear. "
            "Did you mean 'relu'? Choose one.",
        ),
        (
            (*TEXT, "--reduction", "0"),
            "The graft 'new' would have no part: the reduction is 0, and no head or invertible part is asked for. "
            "Give a reduction above 0, such as 2.",
        ),
        (
            (*TEXT, "--under", "new"),
            "The plan 'new' below the new graft 'new' names 'new', which is there already. Each graft stands in a "
            "plan once. Choose another name.",
        ),
    ],
)
def test_what_needs_no_base_is_refused_before_one_is_loaded(
    polygraft: Command, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], sentence: str
):
    loaded: list[str] = []
    monkeypatch.setattr("polygraft.base.load.load_base", lambda name, **_: loaded.append(name))
    done = polygraft(*words, "--name", "new")
    assert done.exit_code == 1
    assert " ".join(done.stderr.split()).endswith(sentence)
    assert loaded == []


def test_what_needs_a_base_is_told_once_it_is_loaded(polygraft: Command, monkeypatch: pytest.MonkeyPatch):
    loaded: list[str] = []

    def load(name: str, **_: object) -> None:
        loaded.append(name)
        raise BaseModelError("The base was asked for.")

    monkeypatch.setattr("polygraft.base.load.load_base", load)
    done = polygraft(*TOKENS, "--name", "new", "--part", "lora", "--option", 'roles=["gate"]')
    assert done.stderr.endswith("The base was asked for.\n")
    assert loaded == ["base"]


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
