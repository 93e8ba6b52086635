"""Runs whose languages and tasks change the base's own weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.recipe.material import find_end, load, read_grafts, run_all

from polygraft.errors import OptionError, RecipeError
from polygraft.recipe.events import StepSkipped
from polygraft.store.store import Store
from polygraft.train.loop import Interrupted

SPARSE = (
    'train.language.method="lt-sft"',
    "train.language.pruning.density=0.1",
    'train.task.method="lt-sft"',
    "train.task.pruning.density=0.2",
)
LEVELS = ('train.task.method="imp"', "train.task.pruning.sparsities=[0.0, 0.5, 0.75]")


def test_languages_and_tasks_are_sparse_changes_in_one_recipe(here: Path):
    summary = find_end(run_all(load("base=bare", *SPARSE))).summary
    store = Store(Path("store"))
    kinds = {name: [part.kind for part in store.manifest(name).parts] for name in store.names()}
    assert kinds == {
        "en": ["delta"],
        "qu": ["delta"],
        "mlm": ["bottleneck", "head"],
        "ner": ["delta", "head"],
        "ner-alone": ["delta", "head"],
    }
    assert store.manifest("qu").hyperparameters["method"] == "lt-sft"
    assert {result.plan for result in summary.results} >= {"stack(qu, ner)", "stack(en, ner)", "ner-alone"}


def test_language_deltas_leave_the_layers_of_the_masked_lm_graft_alone(here: Path):
    run_all(load("base=bare", *SPARSE), only=["mlm", "language"])
    options = Store(Path("store")).manifest("qu").parts[0].options
    # Of three layers the head's graft stands in the last.
    assert options["skip_layers"] == [2]


def test_a_second_run_makes_nothing_anew(here: Path):
    run_all(load(*SPARSE))
    before = read_grafts(Path("store"))
    events = run_all(load(*SPARSE))
    assert [event.name for event in events if isinstance(event, StepSkipped)][:4] == [
        "language.en",
        "language.qu",
        "task.ner-alone",
        "task.ner",
    ]
    assert read_grafts(Path("store")) == before


def test_a_run_that_is_stopped_again_and_again_ends_with_the_same_bytes(here: Path):
    run_all(load(*SPARSE))
    whole = read_grafts(Path("store"))
    recipe = load(*SPARSE, 'store="other"', 'runs="others"')
    for _ in range(100):
        asked: list[int] = []

        def should_stop(asked: list[int] = asked) -> bool:
            asked.append(1)
            return len(asked) >= 4

        try:
            run_all(recipe, only=["language", "task"], should_stop=should_stop)
            break
        except Interrupted:
            continue
    assert read_grafts(Path("other")) == whole
    assert list(Path("others/recipe/checkpoints").glob("*/*")) == []


def test_the_levels_of_pruning_are_stored_and_told_in_the_report(here: Path):
    summary = find_end(run_all(load(*LEVELS))).summary
    names = Store(Path("store")).names()
    assert [name for name in names if name.startswith("ner")] == [
        "ner",
        "ner-alone",
        "ner-alone-s0",
        "ner-alone-s50",
        "ner-s0",
        "ner-s50",
    ]
    (task,) = [graft for graft in summary.grafts if graft.name == "ner"]
    assert [round(level["sparsity"], 2) for level in task.levels] == [0.0, 0.5, 0.75]
    page = Path("runs/recipe/report.html").read_text(encoding="utf-8")
    assert 'id="pruning"' in page and "Score of ner at each sparsity" in page


def test_half_the_strength_halves_the_differences(here: Path):
    run_all(load(*SPARSE), only=["language"])
    _, whole = Store(Path("store")).get("qu")
    run_all(load(*SPARSE, "train.language.strength=0.5", 'store="half"'), only=["language"])
    _, half = Store(Path("half")).get("qu")
    assert (half["delta.values"] * 2 == whole["delta.values"]).all()
    assert whole["delta.values"].abs().max() > 0


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        (
            ('train.task.method="lt-stf"',),
            RecipeError,
            "The recipe has train.task.method = 'lt-stf'. Expected one of bottleneck, imp, lt-sft, piggyback, "
            "packnet, movement, structured. Did you mean 'lt-sft'? Correct the name. (recipe.toml)",
        ),
        (
            ("train.task.pruning.density=0.5",),
            RecipeError,
            "The recipe has [train.task.pruning] with density, and the method 'bottleneck', which prunes nothing. "
            "Expected another train.task.method, such as 'lt-sft'. Name one, or leave the table out. (recipe.toml)",
        ),
        (
            ('train.language.method="lt-sft"', "train.language.pruning.densty=0.5"),
            RecipeError,
            "The recipe has train.language.pruning.densty, which means nothing. Keys of [train.language.pruning] are "
            "weights, dtype, density, scope, l1, choice. Did you mean 'density'? Correct the name. (recipe.toml)",
        ),
        (
            ('train.language.method="lt-sft"', "train.language.pruning.density=0"),
            OptionError,
            "Sparse fine-tuning has density=0. Expected a share above 0 and at most 1 of the weights, such as 0.05. "
            "Correct the number. ([train.language.pruning]) (recipe.toml)",
        ),
    ],
)
def test_methods_that_cannot_be_meant_are_refused(
    here: Path, settings: tuple[str, ...], error: type[Exception], sentence: str
):
    with pytest.raises(error) as caught:
        load(*settings)
    assert str(caught.value) == sentence
