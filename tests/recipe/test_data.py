"""Recipes on data whose columns have names."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pyarrow
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from pyarrow import parquet
from tests.recipe.material import load, read_grafts, run_all
from tests.recipe.test_steps import digest

from polygraft.data.conll import read_conll
from polygraft.data.reading import Reading
from polygraft.errors import DataError, OptionError, RecipeError

datasets.disable_progress_bars()


@pytest.fixture
def tables(here: Path) -> Path:
    """The data of the recipe in other formats."""
    data = here / "data"
    split: dict[str, Dataset] = {}
    for name in ("train", "dev", "en", "qu", "sw"):
        sentences = read_conll(data / f"{name}.conll")
        rows = [{"tokens": each.tokens, "ner_tags": each.tags} for each in sentences]
        (data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        tags = sorted({tag for each in read_conll(data / "train.conll") for tag in each.tags})
        features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=tags))})
        columns = {key: [list(row[key]) for row in rows] for key in ("tokens", "ner_tags")}
        split[name] = Dataset.from_dict(columns, features=features)
    DatasetDict(split).save_to_disk(data / "saved")
    for name in ("en", "qu"):
        lines = (data / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        parquet.write_table(pyarrow.table({"body": lines}), data / f"{name}.parquet")
    return here


def name_files(pattern: str) -> list[str]:
    """Settings that name the labelled data by a pattern."""
    keys = {"train": "train", "dev": "dev", "test.en": "en", "test.qu": "qu", "test.sw": "sw"}
    return [f"task.ner.{key}='{pattern.format(name)}'" for key, name in keys.items()]


JSONL = name_files("{}.jsonl")
SAVED = name_files("hf:saved:{}")
TEXTS = [
    f"language.{name}.{key}='{value}'"
    for name in ("en", "qu")
    for key, value in (("text", f"{name}.parquet"), ("text_column", "body"))
]


@pytest.mark.usefixtures("tables")
def test_the_same_examples_make_the_same_grafts():
    made = []
    for settings in ([], [*JSONL, *TEXTS], SAVED):
        store = f"store{len(made)}"
        run_all(load(*settings, f"store={store}", f"runs=runs-{store}"))
        made.append(read_grafts(Path(store)))
    assert set(made[0]) == {f"{name}/1/graft.safetensors" for name in ("en", "ner", "ner-alone", "qu")}
    assert made[1] == made[0]
    assert made[2] == made[0]


@pytest.mark.usefixtures("tables")
def test_a_dataset_is_looked_for_below_the_root():
    recipe = load(*SAVED)
    assert recipe.tasks["ner"].train == Path("hf:data/saved:train")
    assert recipe.tasks["ner"].test["sw"] == Path("hf:data/saved:sw")
    hub = load("task.ner.train='hf:owner/name:en:train'")
    assert hub.tasks["ner"].train == Path("hf:owner/name:en:train")


@pytest.mark.usefixtures("here")
def test_an_address_that_cannot_be_read_is_told_with_its_key():
    with pytest.raises(DataError) as caught:
        load("task.ner.dev='hf:a:b:c:d'")
    assert str(caught.value) == (
        "'hf:a:b:c:d' names no dataset. Expected hf:OWNER/NAME:SPLIT, hf:OWNER/NAME:CONFIG:SPLIT or hf:FOLDER:SPLIT. "
        "Correct it. (task.ner.dev) (recipe.toml)"
    )


@pytest.mark.usefixtures("here")
def test_keys_say_how_data_is_read():
    recipe = load(
        "task.ner.format=jsonl",
        "task.ner.token_column=words",
        "task.ner.tag_column=-2",
        "task.ner.text_column=body",
        "task.ner.label_column=topic",
        "task.ner.label_names=['a', 'b']",
        "language.en.format=text",
        "language.en.text_column=body",
    )
    assert recipe.tasks["ner"].reading == Reading(
        format="jsonl",
        token_column="words",
        tag_column=-2,
        text_column="body",
        label_column="topic",
        label_names=("a", "b"),
    )
    assert recipe.languages["en"].reading == Reading(format="text", text_column="body")
    assert recipe.languages["qu"].reading == Reading()


@pytest.mark.usefixtures("here")
def test_keys_of_another_kind_are_refused():
    for setting, said in {
        "task.ner.token_column=true": "True. Expected a whole number or text. Correct the value. (recipe.toml)",
        "task.ner.tag_column=1.5": "1.5. Expected a whole number or text. Correct the value. (recipe.toml)",
        "task.ner.text_column=1": "1. Expected text. Correct the value. (recipe.toml)",
        "task.ner.format=xml": (
            "'xml'. Expected one of 'conll', 'text', 'tsv', 'csv', 'jsonl', 'parquet'. Correct the value. (recipe.toml)"
        ),
    }.items():
        with pytest.raises(RecipeError) as caught:
            load(setting)
        key = setting.partition("=")[0]
        assert str(caught.value) == f"The recipe has {key} = {said}"
    with pytest.raises(OptionError) as caught:
        load("task.ner.label_names=['a', 'a']")
    assert str(caught.value) == (
        "label_names holds 'a' twice. Expected each label once, in the order of the numbers. Correct the list. "
        "(recipe.toml)"
    )


@pytest.mark.usefixtures("tables")
def test_how_tables_are_read_is_part_of_their_steps():
    plain, read = digest(load()), digest(load(*JSONL))
    changed = {name for name in plain if plain[name] != read[name]}
    assert changed == {"task.ner-alone", "task.ner", "evaluate.ner"}
    for setting, names in {
        "task.ner.token_column=words": changed,
        "task.ner.label_names=['a', 'b']": changed,
        # What says nothing of tags changes no step.
        "task.ner.text_column=body": set(),
        "task.ner.label_column=topic": set(),
    }.items():
        found = digest(load(*JSONL, setting))
        assert {name for name in found if found[name] != read[name]} == names, setting
    # Of CoNLL, names of labels say nothing either.
    assert digest(load("task.ner.label_names=['a', 'b']")) == plain
    texts, named = digest(load(*TEXTS)), digest(load(*TEXTS, "language.en.text_column=other"))
    assert {name for name in texts if texts[name] != plain[name]} == set(plain) - {"task.ner-alone"}
    assert {name for name in texts if texts[name] != named[name]} == set(plain) - {"task.ner-alone"}


@pytest.mark.usefixtures("tables")
def test_a_saved_dataset_may_be_moved_and_counts_again_when_a_row_is_another(tables: Path):
    before = digest(load(*SAVED))
    (tables / "data" / "saved").rename(tables / "data" / "moved")
    moved = [setting.replace("saved", "moved") for setting in SAVED]
    assert digest(load(*moved)) == before
    loaded = DatasetDict.load_from_disk(str(tables / "data" / "moved"))
    loaded["sw"] = loaded["sw"].select(range(len(loaded["sw"]) - 1))
    loaded.save_to_disk(tables / "data" / "saved")
    after = digest(load(*SAVED))
    assert [name for name in before if before[name] != after[name]] == ["evaluate.ner"]


@pytest.mark.usefixtures("tables")
def test_a_mistake_in_a_row_stops_a_run_before_it_trains(tables: Path):
    path = tables / "data" / "qu.jsonl"
    path.write_text('{"tokens": ["ana"], "ner_tags": []}\n')
    with pytest.raises(DataError) as caught:
        run_all(load(*JSONL))
    assert str(caught.value) == (
        "data/qu.jsonl, line 1: 1 token in 'tokens' and 0 tags in 'ner_tags'. Every token has exactly one tag. Add the "
        "missing ones or remove the extra ones."
    )
    assert not Path("store/en").exists()
