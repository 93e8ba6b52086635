"""Parts and options of parts that cannot be meant, on the command line and in recipes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Command
from tests.cli.learning import TEXT, TOKENS

KNOWN = "Expected one of bottleneck, lora, ia3, bitfit, prefix, prompt, compacter, mam."


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
