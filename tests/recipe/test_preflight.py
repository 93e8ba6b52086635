"""What a run finds out before it trains: each mistake with its sentence, and nothing trained or written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.recipe.material import load, run_all
from tests.tiny import make_base

from polygraft.errors import DataError, OptionError, PolygraftError, RecipeError
from polygraft.parts.bottleneck import Bottleneck
from polygraft.recipe.grafts import list_language_parts, list_task_parts
from polygraft.recipe.run import run_recipe
from polygraft.store.store import Store

LABELS = "[train.task], for the labels of data/train.conll"


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        (
            "train.task.skip_layers=[99]",
            "The part 'bottleneck' has skip_layers with 99, and the base has 3 layers. Expected -3 to 2. Correct the "
            f"number. ({LABELS})",
        ),
        (
            "train.task.reduction=1e9",
            "The part 'bottleneck' has reduction=1e+09, which leaves no width of a size of 16. Expected a number "
            f"from 0.125 to 16. Choose a smaller reduction. ({LABELS})",
        ),
        (
            "train.language.reduction=99",
            "The part 'bottleneck' has reduction=99, which leaves no width of a size of 16. Expected a number from "
            "0.125 to 16. Choose a smaller reduction. ([train.language])",
        ),
        (
            "train.task.activation=rellu",
            "There is no activation 'rellu'. Known are relu, gelu, gelu_new, swish, tanh, leakyrelu, sigmoid, linear. "
            f"Did you mean 'relu'? Choose one. ({LABELS})",
        ),
    ],
)
def test_parts_that_the_base_cannot_have_are_refused_even_in_a_dry_run(
    here: Path, setting: str, sentence: str
):
    recipe = load(setting)
    for dry_run in (True, False):
        with pytest.raises(OptionError) as caught:
            list(run_recipe(recipe, dry_run=dry_run))
        assert str(caught.value) == sentence
    assert not Path("store").exists()
    assert not Path("runs").exists()


def test_labels_of_one_kind_are_refused_with_their_file(here: Path):
    (here / "data" / "train.conll").write_text("ana O\nwent O\n")
    with pytest.raises(DataError) as caught:
        list(run_recipe(load(), dry_run=True))
    assert str(caught.value) == (
        "data/train.conll has no label but 'O'. Two or more were expected: from one alone nothing can be learned. "
        "Check that the file is the one you meant and which column holds the tags (tag_column)."
    )


def test_a_test_file_that_cannot_be_read_is_refused_before_training(here: Path):
    (here / "data" / "qu.conll").write_text("ana O\nwent\n")
    with pytest.raises(PolygraftError, match=r"^data/qu.conll, line 2: "):
        run_all(load())
    assert not Path("store").exists()


def test_a_task_without_a_test_file_is_refused(here: Path):
    text = Path("recipe.toml").read_text()
    start, end = text.index("[task.ner.test]"), text.index("[train.mlm]")
    Path("recipe.toml").write_text(text[:start] + "[task.ner.test]\n" + text[end:])
    with pytest.raises(RecipeError) as caught:
        run_all(load())
    assert str(caught.value) == (
        "[task.ner] has no test file, so nothing would be scored. Expected one for at least one language. Add "
        'test.en = "FILE".'
    )


def test_places_that_cannot_be_written_are_refused_before_the_plan_is_made(here: Path):
    # Before the first event, which is the plan with what the steps will take.
    with pytest.raises(PolygraftError) as caught:
        next(run_recipe(load("store=recipe.toml")))
    assert str(caught.value) == (
        "The store recipe.toml cannot be changed: File exists. A folder with room that may be written was expected. "
        "Make room or choose another folder."
    )
    with pytest.raises(PolygraftError) as caught:
        next(run_recipe(load("runs=recipe.toml")))
    assert str(caught.value) == (
        "The run's folder recipe.toml/recipe cannot be written: Not a directory. Expected a folder with room that "
        "may be written. Change `runs`, or make room."
    )
    assert Store(Path("store")).names() == []


def test_names_that_differ_in_capital_letters_only_are_refused(here: Path):
    text = Path("recipe.toml").read_text()
    Path("recipe.toml").write_text(
        text.replace("[language.qu]", '[language.EN]\ntext = "qu.txt"\n[language.qu]')
    )
    with pytest.raises(RecipeError) as caught:
        load()
    assert str(caught.value) == (
        "[language.EN] would make a graft called 'EN', and so would another step. Rename the table. (recipe.toml)"
    )


def test_keys_of_training_as_a_whole_reach_every_step(here: Path):
    train = load(
        "train.precision=bfloat16", "train.recompute=true", "train.compile=true", "train.checkpoint_every=7"
    ).train
    for table in (train.mlm, train.language, train.task):
        planned = train.plan_training(table, seed=1)
        assert (planned.precision, planned.recompute, planned.compile) == ("bfloat16", True, True)
        assert planned.checkpoint_every == 7


def test_dropout_is_asked_for_in_each_table(here: Path):
    plain, dropping = (
        load().train,
        load(*(f"train.{name}.dropout=true" for name in ("mlm", "language", "task"))).train,
    )
    for train in (plain, dropping):
        for table in (train.mlm, train.language, train.task):
            assert train.plan_training(table, seed=1).dropout == (train is dropping)


@pytest.mark.parametrize("name", ["mlm", "language", "task"])
def test_dropout_is_refused_where_the_base_has_none(here: Path, name: str):
    path = here / "base" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}))
    with pytest.raises(OptionError) as caught:
        list(run_recipe(load(f"train.{name}.dropout=true"), dry_run=True))
    assert str(caught.value) == (
        "A graft was to be trained with dropout, and the base 'base' has none: its configuration gives no rate above "
        "0. Expected a base such as BERT, whose configuration has hidden_dropout_prob = 0.1. Leave `dropout` out, or "
        f"take another base. ([train.{name}])"
    )


def test_every_training_can_take_several_batches_an_update(here: Path):
    train = load("train.mlm.accumulate=2", "train.language.accumulate=3", "train.task.accumulate=4").train
    planned = [train.plan_training(table, seed=1) for table in (train.mlm, train.language, train.task)]
    assert [settings.accumulate for settings in planned] == [2, 3, 4]


def test_keys_of_a_recipe_reach_the_parts_and_the_training(here: Path):
    recipe = load(
        "train.task.placement=parallel",
        "train.task.activation=gelu",
        "train.task.warmup=0.2",
        "train.task.weight_decay=0.01",
        "train.language.patience=3",
        "train.language.warmup=0.1",
        "train.language.weight_decay=0.02",
        "train.language.reduction=4",
    )
    bottleneck = list_task_parts(recipe, recipe.tasks["ner"], ["O", "B-LOC"])[0]
    assert isinstance(bottleneck, Bottleneck)
    assert (bottleneck.placement, bottleneck.activation, bottleneck.scale) == ("parallel", "gelu", 4.0)
    task, language = (table.plan_training(seed=1) for table in (recipe.train.task, recipe.train.language))
    assert (task.warmup, task.weight_decay) == (0.2, 0.01)
    assert (language.warmup, language.weight_decay, language.patience) == (0.1, 0.02, 3)
    [part] = list_language_parts(recipe, make_base("bert"))
    assert isinstance(part, Bottleneck)
    assert (part.reduction, part.skip_layers) == (4, ())
