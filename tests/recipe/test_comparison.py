"""Recipes that compare methods, seeds and sources."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from tests.recipe.material import RECIPE, find_end, load, read_grafts, run_all
from tests.tiny import make_base

from polygraft.attach.graft import rebuild_graft
from polygraft.errors import RecipeError
from polygraft.evaluate.result import Result
from polygraft.recipe.comparison import list_variants
from polygraft.recipe.events import RunPlanned, StepSkipped, StepStarted
from polygraft.recipe.kinds import KINDS
from polygraft.recipe.read import load_recipe
from polygraft.recipe.run import run_recipe
from polygraft.store.store import Store
from polygraft.train.loop import Interrupted

POS = """
[task.pos]
source = "en"
train = "dev.conll"
dev = "en.conll"
[task.pos.test]
en = "en.conll"
[train.mlm]"""
LEARNS = ("train.task.epochs=6", "train.task.batch_tokens=64")


@pytest.fixture(autouse=True)
def two_tasks(here: Path) -> None:
    (here / "recipe.toml").write_text(RECIPE.replace("[train.mlm]", POS), encoding="utf-8")


def list_steps(*settings: str) -> list[str]:
    [event] = run_recipe(load(*settings), dry_run=True)
    assert isinstance(event, RunPlanned)
    return [step.name for step in event.plan.steps]


def refuse(*settings: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load(*settings)
    return str(caught.value).removesuffix(" (recipe.toml)")


def test_a_recipe_that_compares_nothing_is_itself():
    recipe = load()
    assert list_variants(recipe) == [recipe]


def test_every_method_is_planned_and_shares_what_it_can():
    assert list_steps('methods=["madx", "full", "lt-sft", "head"]', "seeds=[3, 4]") == [
        "madx.seed-3.language.en",
        "madx.seed-3.language.qu",
        "madx.seed-3.task.ner",
        "madx.seed-3.evaluate.ner",
        "madx.seed-3.task.pos",
        "madx.seed-3.evaluate.pos",
        "full.seed-3.task.ner",
        "full.seed-3.evaluate.ner",
        "full.seed-3.task.pos",
        "full.seed-3.evaluate.pos",
        "lt-sft.seed-3.language.en",
        "lt-sft.seed-3.language.qu",
        "lt-sft.seed-3.task.ner",
        "lt-sft.seed-3.evaluate.ner",
        "lt-sft.seed-3.task.pos",
        "lt-sft.seed-3.evaluate.pos",
        "head.seed-3.task.ner",
        "head.seed-3.evaluate.ner",
        "head.seed-3.task.pos",
        "head.seed-3.evaluate.pos",
        # The language grafts of the first seed serve the second as well.
        "madx.seed-4.task.ner",
        "madx.seed-4.evaluate.ner",
        "madx.seed-4.task.pos",
        "madx.seed-4.evaluate.pos",
        "full.seed-4.task.ner",
        "full.seed-4.evaluate.ner",
        "full.seed-4.task.pos",
        "full.seed-4.evaluate.pos",
        "lt-sft.seed-4.task.ner",
        "lt-sft.seed-4.evaluate.ner",
        "lt-sft.seed-4.task.pos",
        "lt-sft.seed-4.evaluate.pos",
        "head.seed-4.task.ner",
        "head.seed-4.evaluate.ner",
        "head.seed-4.task.pos",
        "head.seed-4.evaluate.pos",
    ]


def test_seeds_have_language_grafts_of_their_own_where_that_is_wanted():
    steps = list_steps('methods=["madx"]', "seeds=[3, 4]", "share_languages=false")
    assert [name for name in steps if "language" in name] == [
        "madx.seed-3.language.en",
        "madx.seed-3.language.qu",
        "madx.seed-4.language.en",
        "madx.seed-4.language.qu",
    ]


def test_seeds_alone_are_trained_one_after_the_other():
    assert list_steps("seeds=[0, 1]", "share_languages=false") == [
        f"seed-{seed}.{step}"
        for seed in (0, 1)
        for step in (
            "language.en",
            "language.qu",
            "task.ner-alone",
            "task.ner",
            "evaluate.ner",
            "task.pos-alone",
            "task.pos",
            "evaluate.pos",
        )
    ]


def test_a_method_sets_what_it_needs_and_the_recipe_changes_that():
    recipe = load(
        'methods=["bottleneck", "lora", "imp", "wide", "full"]',
        "train.task.reduction=8",
        "train.task.skip_layers=[0]",
        "train.task.lr=2e-3",
        'method.wide.kind="bottleneck"',
        "method.wide.task.reduction=2",
        "method.imp.task.pruning.sparsities=[0.25]",
        "method.lora.task.options.rank=2",
    )
    found = {each.variant.method: each.train.task for each in list_variants(recipe)}
    assert [(task.part, task.method, task.reduction) for task in found.values()] == [
        ("bottleneck", "bottleneck", 8),
        ("lora", "bottleneck", 16),
        ("bottleneck", "imp", 16),
        ("bottleneck", "bottleneck", 2),
        ("bottleneck", "full", 16),
    ]
    assert [(task.lr, task.head_lr_factor) for task in found.values()] == [
        (2e-3, 10),
        (2e-3, 10),
        (1e-4, 100),
        (2e-3, 10),
        (1e-4, 100),
    ]
    assert (found["imp"].pruning, found["lora"].options) == ({"sparsities": [0.25]}, {"rank": 2})
    # A full copy is one: no layer is left out.
    assert [task.skip_layers for task in found.values()] == [(0,), (0,), (0,), (0,), ()]


def test_what_the_recipe_says_of_a_method_itself_stays():
    recipe = load(
        'methods=["lt-sft", "madx"]',
        'train.task.method="lt-sft"',
        "train.task.pruning.density=0.25",
        "train.task.lr=5e-4",
    )
    sparse, madx = (each.train.task for each in list_variants(recipe))
    assert (sparse.method, sparse.pruning, sparse.lr) == ("lt-sft", {"density": 0.25}, 1e-4)
    assert (madx.method, madx.pruning, madx.lr) == ("bottleneck", {}, 5e-4)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ('methods=["madz"]',),
            "The recipe's methods have 'madz', which is no method. Methods are full, sequential, head, bottleneck, "
            "madx, lora, ia3, bitfit, prefix, prompt, compacter, mam, lt-sft, imp, piggyback, packnet. "
            "Did you mean 'madx'? Correct the name, or say "
            'what it is in [method.madz] with kind = "...".',
        ),
        (
            ('methods=["mine"]', 'method.mine.kind="fuller"'),
            "[method.mine] has kind = 'fuller', which is no method. Methods are full, sequential, head, bottleneck, "
            "madx, lora, ia3, bitfit, prefix, prompt, compacter, mam, lt-sft, imp, piggyback, packnet. "
            "Did you mean 'full'? Correct the name.",
        ),
        (
            ('methods=["full", "full"]',),
            "The recipe's methods have 'full' twice. Expected each once. Leave one out.",
        ),
        (("seeds=[1, 1]",), "The recipe's seeds have 1 twice. Expected each once. Leave one out."),
        (
            ('methods=["full"]', "method.lora.task.lr=1"),
            "The recipe has [method.lora], and 'lora' is not among its methods (full). Add it to `methods`, or leave "
            "the table out.",
        ),
        (
            ('methods=["lora"]', "method.lora.task.learning_rate=1"),
            "The recipe has method.lora.task.learning_rate, which means nothing.",
        ),
        (
            ('methods=["lora"]', "method.lora.task.epochs=true"),
            "The recipe has method.lora.task.epochs = True. Expected a whole number. Correct the value. "
            "(method 'lora')",
        ),
        (
            ('train.task.method="full"',),
            "The recipe has train.task.method = 'full', which makes no graft but a copy of the base. Expected it "
            'among `methods`. Write methods = ["full"].',
        ),
    ],
)
def test_what_cannot_be_compared_is_said(settings: tuple[str, ...], sentence: str):
    assert refuse(*settings).startswith(sentence)


def test_every_kind_can_be_meant():
    recipe = load(f"methods={json.dumps(list(KINDS))}")
    assert [each.variant.method for each in list_variants(recipe)] == list(KINDS)
    assert all(kind.about for kind in KINDS.values())


def test_methods_without_languages_need_none(here: Path):
    text = (here / "recipe.toml").read_text(encoding="utf-8")
    start, end = text.index("[language.en]"), text.index("[task.ner]")
    Path("bare.toml").write_text(text[:start] + text[end:], encoding="utf-8")
    assert load_recipe(Path("bare.toml"), settings=['methods=["full"]']).languages == {}
    with pytest.raises(RecipeError) as caught:
        load_recipe(Path("bare.toml"), settings=['methods=["full", "madx"]'])
    assert str(caught.value) == (
        "The recipe has no language. Expected at least one [language.xx] with a text file. Add one. (bare.toml)"
    )


def name(result: Result) -> tuple[str, int, str, str, str, str]:
    return result.method, result.seed, result.task, result.language, result.condition, result.plan


def test_a_comparison_is_run_to_its_end_and_again_from_what_it_kept():
    recipe = load('methods=["full", "madx"]', "seeds=[0, 1]", *LEARNS)
    events = run_all(recipe)
    summary = find_end(events).summary
    copies = sorted(path.name for path in Path("runs/recipe/copies").iterdir() if path.is_dir())
    assert copies == ["ner-full", "ner-full-seed-1", "pos-full", "pos-full-seed-1"]
    grafts = Store(Path("store")).names()
    assert grafts == ["en", "ner-madx", "ner-madx-seed-1", "pos-madx", "pos-madx-seed-1", "qu"]
    plans = [name(result) for result in summary.results if result.seed == 1 and result.language == "qu"]
    assert plans == [
        ("full", 1, "ner", "qu", "task alone", "ner-full-seed-1"),
        ("madx", 1, "ner", "qu", "none", "ner-madx-seed-1"),
        ("madx", 1, "ner", "qu", "source", "stack(en, ner-madx-seed-1)"),
        ("madx", 1, "ner", "qu", "target", "stack(qu, ner-madx-seed-1)"),
    ]
    assert {result.source for result in summary.results} == {"en"}
    [contest] = [each for each in summary.contests if (each.task, each.language) == ("ner", "qu")]
    scores = {
        (each.method, each.seed, each.condition): each.score
        for each in summary.results
        if each.language == "qu"
    }
    gains = {
        str(seed): scores["full", seed, "task alone"] - scores["madx", seed, "target"] for seed in (0, 1)
    }
    means = {
        (mean.method, mean.condition): mean
        for mean in summary.means
        if (mean.task, mean.language) == ("ner", "qu")
    }
    assert set(means) == {(method, condition) for method, _, condition in scores}
    for (method, condition), mean in means.items():
        by_seed = [scores[method, seed, condition] for seed in (0, 1)]
        assert mean.score == pytest.approx(sum(by_seed) / 2, abs=1e-12)
        assert mean.deviation == pytest.approx(abs(by_seed[0] - by_seed[1]) / 2**0.5, abs=1e-12)
        assert mean.seeds == (0, 1)
    rows = list(csv.DictReader(Path("runs/recipe/results.csv").read_text().splitlines()))
    assert {row["num_seeds"] for row in rows} == {"2"}
    assert {(each.task, each.method) for each in summary.examples} == {
        (task, method) for task in ("ner", "pos") for method in ("full", "madx")
    }
    assert {each.metric for each in summary.examples} == {"f1"}
    assert (contest.method, contest.condition) == ("full", "task alone")
    assert (contest.other_method, contest.other_condition) == ("madx", "target")
    assert contest.by_seed == pytest.approx(gains, abs=1e-12)
    owners = {(graft.name, graft.method, graft.seed, graft.task, graft.is_copy) for graft in summary.grafts}
    assert {("en", "", 0, None, False), ("ner-madx-seed-1", "madx", 1, "ner", False)} <= owners
    assert ("pos-full", "full", 0, "pos", True) in owners
    again = run_all(recipe)
    assert not any(isinstance(event, StepStarted) for event in again)
    assert sum(isinstance(event, StepSkipped) for event in again) == sum(
        isinstance(event, StepStarted) for event in events
    )
    assert [name(result) for result in find_end(again).summary.results] == [name(r) for r in summary.results]
    assert find_end(again).summary.contests == summary.contests


def find(grafts: dict[str, bytes], name: str) -> list[bytes]:
    return [data for path, data in grafts.items() if f"{name}/" in path]


def test_methods_give_what_they_give_without_others():
    run_all(load('methods=["bottleneck", "lora"]', "seeds=[1]"))
    run_all(load('methods=["lora"]', "seeds=[1]", 'store="other"', 'runs="others"'))
    run_all(load("seed=1", 'store="third"', 'runs="thirds"'))
    whole, alone, plain = (read_grafts(Path(store)) for store in ("store", "other", "third"))
    assert find(whole, "ner-lora") == find(alone, "ner-lora") != []
    assert find(whole, "ner-bottleneck") == find(plain, "ner-alone") != []


def test_a_comparison_that_is_stopped_again_and_again_ends_with_the_same():
    settings = ('methods=["sequential", "madx"]', "forgetting=true")
    whole = find_end(run_all(load(*settings))).summary
    recipe = load(*settings, 'store="other"', 'runs="others"')
    for _ in range(40):
        asked: list[int] = []

        def should_stop(asked: list[int] = asked) -> bool:
            asked.append(1)
            return len(asked) >= 25

        try:
            summary = find_end(run_all(recipe, should_stop=should_stop)).summary
            break
        except Interrupted:
            continue
    else:
        pytest.fail("The run did not come to its end.")
    assert read_grafts(Path("other")) == read_grafts(Path("store"))
    assert read_grafts(Path("others/recipe/copies")) == read_grafts(Path("runs/recipe/copies"))
    assert [result.predictions for result in (*summary.results, *summary.rechecks)] == [
        result.predictions for result in (*whole.results, *whole.rechecks)
    ]


def test_steps_are_chosen_by_method_or_by_what_they_do():
    recipe = load('methods=["head", "lora"]')
    events = run_all(recipe, only=["task.pos"])
    assert [event.name for event in events if isinstance(event, StepStarted)] == [
        "head.task.pos",
        "lora.task.pos",
    ]
    events = run_all(recipe, only=["lora"])
    assert [event.name for event in events if isinstance(event, StepStarted)] == [
        "lora.task.ner",
        "lora.evaluate.ner",
        "lora.evaluate.pos",
    ]


def test_a_copy_can_be_put_together_again():
    run_all(load('methods=["full"]'), only=["full.task.ner"])
    store = Store(Path("runs/recipe/copies"))
    graft = rebuild_graft(make_base("bert"), *store.get("ner-full"))
    assert [part.kind for part in graft.parts] == ["delta", "head"]
    assert not Path("store/ner-full").exists()
