"""Recipes whose languages and tasks learn with other parts than bottlenecks, to the end, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.recipe.material import find_end, load, run_all
from tests.tiny import make_model, make_tokenizer

from polygraft.errors import PolygraftError
from polygraft.parts.kinds import LEARNED, MADE_OTHERWISE, OF_EMBEDDINGS, PRESETS
from polygraft.parts.table import PARTS
from polygraft.store.store import Store

PREFIX = "{length = 3, reparameterization = 4}"
COMPACTER = "{reduction = 4, terms = 2}"
RUNS: list[tuple[str, list[str], str, list[str]]] = [
    ("lora", [], "mam", [f"prefix={PREFIX}"]),
    ("prefix", ["length=3", "reparameterization=4"], "prompt", ["length=4"]),
    ("prompt", ["length=4"], "['prefix', 'lora']", [f"prefix={PREFIX}", "lora.rank=2"]),
    ("['compacter', 'glow']", [f"compacter={COMPACTER}"], "prefix", ["length=3"]),
    ("bitfit", [], "compacter", ["reduction=4", "terms=2"]),
    ("ia3", [], "bitfit", []),
    ("invertible", [], "['bottleneck', 'prompt']", ["prompt.length=4"]),
]
"""The part of the languages with its options, and that of the tasks with its."""


def choose(language: str, of_language: list[str], task: str, of_task: list[str]) -> list[str]:
    """What sets the parts of a recipe."""
    return [
        f"train.language.part={language}",
        *(f"train.language.options.{option}" for option in of_language),
        f"train.task.part={task}",
        *(f"train.task.options.{option}" for option in of_task),
        "train.language.max_length=32",
    ]


def list_kinds(name: str) -> list[str]:
    return [record.kind for record in Store(Path("store")).manifest(name).parts]


def test_every_part_is_learned_or_made_otherwise():
    assert {*LEARNED, *OF_EMBEDDINGS, *MADE_OTHERWISE} == set(PARTS)
    assert not {*LEARNED, *OF_EMBEDDINGS} & set(MADE_OTHERWISE)
    assert {kind for preset in PRESETS.values() for kind in preset} <= set(LEARNED)


@pytest.mark.parametrize("chosen", RUNS, ids=lambda chosen: f"{chosen[0]} under {chosen[2]}")
@pytest.mark.usefixtures("here")
def test_languages_are_learned_swapped_and_scored(chosen: tuple[str, list[str], str, list[str]]):
    finished = find_end(run_all(load(*choose(*chosen))))
    by_condition = {(result.language, result.condition): result.plan for result in finished.summary.results}
    assert by_condition["qu", "target"] == "stack(qu, ner)"
    assert len(by_condition) == 4 + 3 + 3
    language, _, task, _ = chosen
    expected = {name: re.findall(r"\w+", kinds) for name, kinds in (("qu", language), ("ner", task))}
    expected["ner"] = [kind for name in expected["ner"] for kind in PRESETS.get(name, (name,))] + ["head"]
    assert {name: list_kinds(name) for name in expected} == expected
    assert list_kinds("ner-alone") == expected["ner"]
    curves = {graft.name: graft.curve for graft in finished.summary.grafts}
    assert all(curves[name] for name in ("en", "qu", "ner", "ner-alone"))


@pytest.mark.usefixtures("here")
def test_languages_stand_below_the_graft_with_the_masked_lm_head():
    run_all(load("base=bare", *choose("['prefix', 'lora', 'glow']", [f"prefix={PREFIX}"], "mam", [])))
    manifest = Store(Path("store")).manifest("qu")
    assert manifest.trained_under == "stack(mlm, qu)"
    skipped = {record.kind: record.options.get("skip_layers") for record in manifest.parts}
    assert skipped == {"prefix": [2], "lora": [2], "glow": None}


@pytest.mark.usefixtures("here")
def test_a_lora_of_a_language_is_stored_at_its_strength():
    run_all(load(*choose("lora", ["alpha=4"], "lora", []), "train.language.strength=0.5"), only=["language"])
    stored = Store(Path("store")).manifest("qu")
    assert stored.parts[0].options["alpha"] == 2.0
    assert set(stored.scores) == {"held_out_loss", "held_out_loss_at_strength_1"}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ["train.task.part=delta"],
            "A graft was to learn with the part 'delta', which `polygraft prune lt-sft` makes. Expected one of "
            "bottleneck, lora, ia3, bitfit, prefix, prompt, compacter, mam. Choose one, or make 'delta' that way. "
            "([train.task]) (recipe.toml)",
        ),
        (
            ["train.task.part=invertible"],
            "A graft was to learn labels with the part 'invertible', which changes the embeddings for a language. "
            "Expected one of bottleneck, lora, ia3, bitfit, prefix, prompt, compacter, mam. Choose one, or give "
            "'invertible' to the language: `polygraft train mlm --part invertible`, or part of [train.language]. "
            "([train.task]) (recipe.toml)",
        ),
        (
            ["train.language.part=[]"],
            "A graft was to learn with no part. Expected one or more of bottleneck, lora, ia3, bitfit, prefix, "
            "prompt, compacter, invertible, glow, mam. Name one. ([train.language]) (recipe.toml)",
        ),
        (
            ["train.language.part=3"],
            "The recipe has train.language.part = 3. Expected text. Correct the value. (recipe.toml)",
        ),
        (
            ["train.language.part=['glow', 'invertible']", "train.language.invertible=true"],
            "The recipe has train.language.invertible = true. Expected false beside part = ['glow', 'invertible'], "
            "which has such a part. Correct the value. (recipe.toml)",
        ),
        (
            ["train.language.part=lora", "train.language.reduction=4"],
            "The recipe has train.language.reduction = 4.0. Expected it with part = 'bottleneck' only, and not with "
            "'lora'. Correct the value. (recipe.toml)",
        ),
        (
            ["train.task.part=mam", "train.task.placement=ffn", "train.task.activation=gelu"],
            "The recipe has train.task.activation = gelu. Expected it with part = 'bottleneck' only, and not with "
            "'mam'. Correct the value. (recipe.toml)",
        ),
        (
            ["train.task.part=['bottleneck', 'prompt']", "train.task.options.bottleneck.reduction=4"],
            "The recipe has train.task.options.bottleneck.reduction = 4. Expected it as train.task.reduction. Correct "
            "the value. (recipe.toml)",
        ),
        (
            ["train.language.options.rank=4"],
            "The recipe has train.language.options = {'rank': 4}. Expected none beside part = 'bottleneck', whose "
            "options are keys of the table. Correct the value. (recipe.toml)",
        ),
        (
            ["train.task.part=['prefix', 'lora']", "train.task.options.rank=4"],
            "The options hold rank = 4, and the graft learns with prefix and lora. Expected each option below the "
            "name of its part: prefix.KEY=VALUE on the command line, a table options.prefix in a recipe. Write it "
            "there. ([train.task]) (recipe.toml)",
        ),
        (
            ["train.language.part=['prefix', 'glow']", "train.language.method=lt-sft"],
            "The recipe has train.language.method = lt-sft. Expected none beside part = ['prefix', 'glow']. Correct "
            "the value. (recipe.toml)",
        ),
        (
            ["train.language.part=prefix", "train.language.strength=0.5"],
            "The recipe has train.language.strength = 0.5. Expected 1 beside train.language.part = 'prefix': only "
            "what bottlenecks and LoRA without DoRA add can be multiplied. Correct the value. (recipe.toml)",
        ),
        (
            ["train.language.part=lora", "train.language.options.dora=true", "train.task.under_strength=2"],
            "The recipe has train.task.under_strength = 2.0. Expected 1 beside train.language.part = 'lora': only "
            "what bottlenecks and LoRA without DoRA add can be multiplied. Correct the value. (recipe.toml)",
        ),
        (
            ["train.task.part=prompt", "train.task.skip_layers=[0]"],
            "skip_layers = [0] was to leave out layers, and the graft learns with prompt, which stands in no layer. "
            "Expected it with parts that do, such as a bottleneck or a prefix. Leave it out. ([train.task], for the "
            "labels of data/train.conll)",
        ),
        (
            ["train.language.part=prompt"],
            "The recipe has train.language.max_length = 128 and puts a prompt of 20 before each row, and the base "
            "'base' has 48 positions. Expected rows of at most 28. Lower it, or take a shorter prompt. "
            "([train.language])",
        ),
        (
            [
                "train.language.part=prompt",
                "train.language.max_length=20",
                "train.task.part=prompt",
                "train.task.options.length=21",
            ],
            "A prompt of 41 was to stand before rows on the base 'base', which has 48 positions. Expected room for 8 "
            "pieces or more beside it. Take a prompt of at most 40; where grafts stand over each other, that is for "
            "all of their prompts together. ([train.task], for the labels of data/train.conll)",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(here: Path, settings: list[str], sentence: str):
    with pytest.raises(PolygraftError) as caught:
        run_all(load(*settings))
    assert str(caught.value) == sentence
    assert not (here / "store").exists()


def test_a_base_that_takes_no_prefix_is_told_before_anything_is_trained(here: Path):
    make_model("deberta-v2").save_pretrained(here / "deberta")
    make_tokenizer().save_pretrained(here / "deberta")
    with pytest.raises(PolygraftError) as caught:
        run_all(load("base=deberta", "train.task.part=mam"))
    assert str(caught.value) == (
        "The base 'deberta' computes its attention by itself, as all of the family 'deberta-v2' do, so no keys and "
        "values can be put before its own. Expected a family whose attention goes through transformers' common "
        "function. Take another part, such as lora or bottleneck. ([train.task], for the labels of data/train.conll)"
    )
    assert not (here / "store").exists()
