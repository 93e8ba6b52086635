"""Recipes whose tasks are packed one after the other into one set of weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.recipe.by_method import load_graft, read_mask
from tests.recipe.material import find_end, load, read_grafts, run_all
from tests.tiny import make_base, make_batch
from torch import Tensor

from polygraft.attach.attach import attach
from polygraft.errors import OptionError, PolygraftError, RecipeError
from polygraft.prune.mask import count_places
from polygraft.recipe.corpus import Corpus
from polygraft.recipe.events import Noted, StepFinished, StepSkipped, StepStarted
from polygraft.recipe.methods import PackNet
from polygraft.recipe.packing import count_packed, read_packed
from polygraft.recipe.run import run_recipe
from polygraft.recipe.score import list_conditions
from polygraft.recipe.steps import list_jobs
from polygraft.report.summary import PackedSummary, summary_from_json
from polygraft.store.store import Store
from polygraft.train.loop import Interrupted

TASK = """
[task.NAME]
source = "en"
train = "TRAIN.conll"
dev = "dev.conll"
test.en = "en.conll"
test.qu = "qu.conll"
"""
RECIPE = f"""
base = "base"
[data]
root = "data"
{TASK.replace("NAME", "ner").replace("TRAIN", "train")}
{TASK.replace("NAME", "pos").replace("TRAIN", "sw")}
[train.task]
method = "packnet"
epochs = 1
batch_tokens = 128
lr = 0.01
"""
STEPS = ["task.ner", "evaluate.ner", "task.pos", "evaluate.pos"]
SHAPES = {"a": (4, 4), "b": (3, 8), "c": (5,)}


@pytest.fixture(autouse=True)
def packed(here: Path) -> None:
    Path("recipe.toml").write_text(RECIPE, encoding="utf-8")


def add_task(name: str) -> None:
    with Path("recipe.toml").open("a", encoding="utf-8") as file:
        file.write(TASK.replace("NAME", name).replace("TRAIN", "qu"))


def score(plan: str, *names: str) -> Tensor:
    """What the topmost head gives for each label of each token."""
    base = make_base("bert")
    with torch.no_grad(), attach(base, plan, grafts=[load_graft(name, base=base) for name in names]) as found:
        return found.score(*make_batch())


def read_scores(runs: str) -> dict[tuple[str, str], Any]:
    """The results of a run by task and language, without what differs from one minute to the next."""
    summary = summary_from_json(Path(runs, "recipe", "results.json").read_text(encoding="utf-8"))
    return {
        (result.task, result.language): dataclasses.replace(result, seconds=0.0, tokens_per_second=0.0)
        for result in summary.results
    }


def refuse(*settings: str) -> str:
    """What a recipe is refused with, the same in a dry run and a run; nothing is trained or written."""
    found: list[str] = []
    for dry_run in (True, False):
        with pytest.raises(PolygraftError) as caught:
            list(run_recipe(load(*settings), dry_run=dry_run))
        found.append(str(caught.value))
    assert found[0] == found[1]
    assert not Path("store").exists() and not Path("runs").exists()
    return found[0]


def test_tasks_are_packed_in_the_order_of_the_file():
    events = run_all(load())
    assert [event.name for event in events if isinstance(event, StepStarted)] == STEPS
    assert [event.name for event in events if isinstance(event, StepFinished)] == STEPS
    store = Store(Path("store"))
    assert store.names() == ["ner", "pos"]
    pos = store.manifest("pos")
    assert pos.trained_under == "stack(ner, pos)"
    assert [member.name for member in pos.members] == ["ner"]
    assert pos.hyperparameters["plans"] == ["stack(ner, pos)"]
    assert store.manifest("ner").hyperparameters["plans"] == ["ner"]
    assert [part.kind for part in pos.parts] == ["mask", "head"]
    plans = {(result.task, result.language): result.plan for result in find_end(events).summary.results}
    assert plans == {
        ("ner", "en"): "ner",
        ("ner", "qu"): "ner",
        ("pos", "en"): "stack(ner, pos)",
        ("pos", "qu"): "stack(ner, pos)",
    }
    assert {result.condition for result in find_end(events).summary.results} == {"task alone"}


def test_earlier_tasks_stay_what_they_were_to_the_bit():
    run_all(load(), only=["task.ner", "evaluate.ner"])
    before, scores = score("ner", "ner"), read_scores("runs")
    file = read_grafts(Path("store"))["ner/1/graft.safetensors"]
    run_all(load(), only=["task.pos"])
    assert read_grafts(Path("store"))["ner/1/graft.safetensors"] == file
    assert torch.equal(score("ner", "ner"), before)
    assert not torch.equal(score("stack(ner, pos)", "ner", "pos"), before)
    # In another folder of runs it is scored once more, after both were packed.
    events = run_all(load("runs=later"))
    assert [event.name for event in events if isinstance(event, StepStarted)] == [
        "evaluate.ner",
        "evaluate.pos",
    ]
    later = read_scores("later")
    assert list(scores) == [("ner", "en"), ("ner", "qu")]
    assert {place: later[place] for place in scores} == scores


def test_tasks_own_what_was_counted_before_training():
    add_task("topic")
    summary = find_end(run_all(load("train.task.pruning.sparsity=0.4"))).summary
    masks = [read_mask(name) for name in ("ner", "pos", "topic")]
    shapes = {name: tuple(mask.shape) for name, mask in masks[0].items()}
    counted = count_packed(PackNet(sparsity=0.4), shapes, ["ner", "pos", "topic"])
    total, kept = sum(mask.numel() for mask in masks[0].values()), [count_places(mask) for mask in masks]
    assert [total - each.num_free for each in counted] == kept
    packed = [each.packed for each in summary.grafts if each.packed is not None]
    assert [(each.own, each.total) for each in packed] == [(each.num_own, total) for each in counted]
    assert [each.left for each in packed] == pytest.approx([each.num_free / total for each in counted])


@pytest.mark.parametrize("scope", ["global", "tensor", "row"])
@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.6])
def test_counting_takes_a_share_of_each_group(scope: str, sparsity: float):
    """Each group on its own, weight by weight; a half is one more."""
    groups = {"global": [45], "tensor": [16, 24, 5], "row": [4] * 4 + [8] * 3 + [5]}[scope]
    expected: list[tuple[int, int]] = []
    for _ in range(2):
        own = [int(size * round(10 * (1 - sparsity)) / 10 + 0.5) for size in groups]
        groups = [size - taken for size, taken in zip(groups, own, strict=True)]
        expected.append((sum(own), sum(groups)))
    counted = count_packed(PackNet(sparsity=sparsity, scope=scope), SHAPES, ["one", "two"])
    assert [(each.num_own, each.num_free) for each in counted] == expected


def test_one_task_may_be_packed_into_groups_or_take_all():
    [half] = count_packed(PackNet(sparsity=0.5, scope="2:4"), {"a": (4, 4)}, ["one"])
    assert (half.num_own, half.num_free) == (8, 8)
    [whole] = count_packed(PackNet(sparsity=0.0), SHAPES, ["one"])
    assert (whole.num_own, whole.num_free) == (45, 0)


def test_a_single_task_is_packed():
    Path("recipe.toml").write_text(RECIPE.replace(TASK.replace("NAME", "pos").replace("TRAIN", "sw"), ""))
    summary = find_end(run_all(load("train.task.pruning.sparsity=0.0"))).summary
    [graft] = summary.grafts
    assert graft.packed == PackedSummary(own=5376, total=5376, left=0.0)
    assert "Of 5,376 weights, ‘ner’ took 100 %; nothing left for later tasks." in Path(
        "runs/recipe/report.html"
    ).read_text(encoding="utf-8")


def test_a_second_run_makes_nothing_anew():
    run_all(load())
    before = read_grafts(Path("store"))
    assert [event.name for event in run_all(load()) if isinstance(event, StepSkipped)] == STEPS
    assert read_grafts(Path("store")) == before


def test_a_run_that_is_stopped_again_and_again_ends_with_the_same_bytes():
    run_all(load())
    whole = read_grafts(Path("store"))
    recipe = load('store="other"', 'runs="others"')
    stops = 0
    for _ in range(100):
        asked: list[int] = []

        def should_stop(asked: list[int] = asked) -> bool:
            asked.append(1)
            return len(asked) >= 4

        try:
            run_all(recipe, should_stop=should_stop)
            break
        except Interrupted:
            stops += 1
    assert stops > 4
    assert read_grafts(Path("other")) == whole
    assert list(Path("others/recipe/checkpoints").glob("*/*")) == []


def test_a_later_task_needs_those_before_it():
    with pytest.raises(RecipeError) as caught:
        run_all(load(), only=["task.pos"])
    assert str(caught.value) == (
        "A step needs the graft 'ner', which was not trained yet. Expected it in the store 'store'. Run the recipe "
        "without --only, or with the step that makes it."
    )
    run_all(load(), only=["task.ner"])
    events = run_all(load(), only=["task.pos"])
    assert [event.name for event in events if isinstance(event, StepStarted)] == ["task.pos"]
    assert Store(Path("store")).manifest("pos").trained_under == "stack(ner, pos)"


def digest(*settings: str) -> dict[str, str]:
    recipe, base = load(*settings), make_base("bert")
    return {
        job.name: job.digest
        for job in list_jobs(recipe, base, Corpus(recipe=recipe, tokenizer=base.tokenizer))
    }


def swap_tasks() -> None:
    ner, pos = (
        TASK.replace("NAME", name).replace("TRAIN", file) for name, file in (("ner", "train"), ("pos", "sw"))
    )
    text = RECIPE.replace(ner, "FIRST").replace(pos, ner).replace("FIRST", pos)
    Path("recipe.toml").write_text(text, encoding="utf-8")


def append(name: str) -> Callable[[], object]:
    path = Path("data") / name
    return lambda: path.write_bytes(path.read_bytes() + b"\n")


@pytest.mark.parametrize(
    ("change", "settings", "changed"),
    [
        (append("train.conll"), (), STEPS),
        (append("sw.conll"), (), STEPS[2:]),
        (append("qu.conll"), (), ["evaluate.ner", "evaluate.pos"]),
        (swap_tasks, (), STEPS),
        (lambda: add_task("topic"), (), []),
        (list, ("train.task.pruning.sparsity=0.4",), STEPS),
        (list, ("train.task.ready_for=source", "train.language.steps=9", "train.mlm.steps=9"), []),
    ],
    ids=["first", "second", "test", "order", "third", "sparsity", "unused"],
)
def test_a_task_depends_on_those_before_it(
    change: Callable[[], object], settings: tuple[str, ...], changed: list[str]
):
    before = digest()
    change()
    after = digest(*settings)
    assert [name for name in STEPS if after[name] != before[name]] == changed


def test_another_name_of_an_earlier_task_changes_scores_only():
    before = digest()
    Path("recipe.toml").write_text(RECIPE.replace("task.ner", "task.names"), encoding="utf-8")
    after = digest()
    assert after["task.pos"] == before["task.pos"]
    assert after["evaluate.pos"] != before["evaluate.pos"]


def test_languages_get_no_grafts_and_the_run_says_so():
    text = '[language.en]\ntext = "en.txt"\n[language.qu]\ntext = "qu.txt"\n'
    Path("recipe.toml").write_text(RECIPE + text, encoding="utf-8")
    recipe = load("base=bare")
    events = run_all(recipe)
    assert [event.name for event in events if isinstance(event, StepStarted)] == STEPS
    assert [str(plan) for plan in list_conditions(recipe, "pos", "qu").values()] == ["stack(ner, pos)"]
    assert next(event.sentence for event in events if isinstance(event, Noted)) == (
        "The tasks are packed into one set of weights and stand over no language: the recipe's languages, en, qu, get "
        "no grafts."
    )


def test_capacity_is_told_in_results_and_report():
    run_all(load())
    summary = summary_from_json(Path("runs/recipe/results.json").read_text(encoding="utf-8"))
    assert {graft.name: graft.packed for graft in summary.grafts} == {
        "ner": PackedSummary(own=2688, total=5376, left=0.5),
        "pos": PackedSummary(own=1344, total=5376, left=0.25),
    }
    page = Path("runs/recipe/report.html").read_text(encoding="utf-8")
    assert "Two tasks in one set of weights, 25 % left" in page
    assert "Of 5,376 weights, ‘ner’ took 50 % and ‘pos’ took 25 %; 25 % left for later tasks." in page


def test_a_manifest_of_another_method_tells_of_no_packing():
    facts: dict[str, Any] = {"weights_taken": 3, "weights_in_all": 12, "capacity_left": 0.5}
    assert read_packed(facts) == PackedSummary(own=3, total=12, left=0.5)
    for key in facts:
        assert read_packed({**facts, key: "3"}) is None
    assert read_packed({}) is None


def test_a_task_that_finds_nothing_free_is_refused_before_training():
    assert refuse("train.task.pruning.sparsity=0.0") == (
        "No weight is left for 'pos': the grafts ner have taken all of them. Expected free ones. Pack the tasks below "
        "with a higher sparsity. ([train.task.pruning])"
    )


def test_a_task_that_would_keep_nothing_is_refused_before_training():
    settings = ("train.task.pruning.sparsity=0.968", 'train.task.pruning.weights=["*.0.*query.bias"]')
    assert refuse(*settings) == (
        "A sparsity of 0.968 in the scope 'tensor' leaves 'pos' none of the 15 weights that are free. At least one was "
        "expected. Give a smaller sparsity. ([train.task.pruning])"
    )


def test_groups_for_a_second_task_are_refused_before_training():
    assert refuse('train.task.pruning.scope="2:4"') == (
        "The scope '2:4' chooses among whole groups of weights, and the tasks below 'pos' have taken some of each. "
        "Expected global, tensor or row. Choose one of them. ([train.task.pruning])"
    )


def test_weights_that_the_base_does_not_have_are_refused_before_training():
    assert refuse('train.task.pruning.weights=["nothing"]') == (
        "The part 'mask' asks for the weights 'nothing', and none of the base's 53 weights is that. Expected linear, "
        "bias, norm, embedding, or a pattern of names such as '*.bias'. Correct it. ([train.task.pruning])"
    )


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        (
            ('train.language.method="packnet"',),
            RecipeError,
            "The recipe has train.language.method = 'packnet', which packs tasks one over the other, and the grafts of "
            "[train.language] are swapped for each other. Expected one of bottleneck, imp, lt-sft, piggyback, "
            "movement, structured. Choose one of these, or give 'packnet' to [train.task]. (recipe.toml)",
        ),
        (
            ("train.task.pruning.sparsity=1.5",),
            OptionError,
            "The sparsities are 1.5. Expected shares of the weights from 0 up to (but not) 1, each larger than the one "
            "before, such as 0.5, 0.8, 0.9. Correct them. ([train.task.pruning]) (recipe.toml)",
        ),
        (
            ('train.task.method="bottleneck"',),
            RecipeError,
            "The recipe has no language. Expected at least one [language.xx] with a text file. Add one. (recipe.toml)",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(settings: tuple[str, ...], error: type[Exception], sentence: str):
    with pytest.raises(error) as caught:
        load(*settings)
    assert str(caught.value) == sentence


def test_a_recipe_without_tasks_packs_nothing():
    Path("recipe.toml").write_text('base = "base"\n[train.task]\nmethod = "packnet"\n', encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load()
    assert str(caught.value) == (
        "The recipe has train.task.method = 'packnet' and no task, so nothing would be packed. Expected at least one "
        "[task.NAME] with labelled data. Add one. (recipe.toml)"
    )


def test_names_are_free_that_no_step_takes():
    add_task("ner-alone")
    assert list(load().tasks) == ["ner", "pos", "ner-alone"]
