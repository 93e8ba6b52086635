from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from polygraft.data.datasets import digest_dataset, open_dataset
from polygraft.data.reading import BY_ENDING
from polygraft.data.rows import read_labelled_rows, read_tagged_rows
from polygraft.errors import DataError, MissingExtraError

LOADED = (
    "A folder, or a dataset on the hub that may be read, was expected as hf:PLACE:SPLIT or hf:PLACE:CONFIG:SPLIT. "
    "Check each part, and the connection if it is on the hub."
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left in the user's cache, and no bars are drawn."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    datasets.disable_progress_bars()


def make(rows: int = 5, **changes: Any) -> Dataset:
    features = Features(
        {
            "tokens": List(Value("string")),
            "ner_tags": List(ClassLabel(names=["O", "B-PER"])),
            "id": Value("int64"),
        }
    )
    columns = {
        "tokens": [["ana", f"went{number}"] for number in range(rows)],
        "ner_tags": [[1, 0]] * rows,
        "id": list(range(rows)),
    }
    return Dataset.from_dict({**columns, **changes}, features=features)


def refuse(address: str) -> str:
    with pytest.raises(DataError) as caught:
        open_dataset(address)
    return str(caught.value)


def test_a_saved_folder_is_read_with_the_names_of_its_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("polygraft.data.datasets.BATCH_ROWS", 2)
    make().save_to_disk(tmp_path / "one")
    table = open_dataset(f"hf:{tmp_path}/one")
    assert table.columns == ("tokens", "ner_tags", "id")
    assert [number for number, _ in table.read_rows(["id"])] == [1, 2, 3, 4, 5]
    found = read_tagged_rows(table, BY_ENDING)
    assert [(each.tokens, each.tags, each.line) for each in found] == [
        (("ana", f"went{number}"), ("B-PER", "O"), number + 1) for number in range(5)
    ]


def test_a_split_of_a_saved_folder_is_read(tmp_path: Path):
    DatasetDict({"train": make(3), "test": make(2)}).save_to_disk(tmp_path / "both")
    assert len(list(open_dataset(f"hf:{tmp_path}/both:test").read_rows(["id"]))) == 2
    assert refuse(f"hf:{tmp_path}/both:tests") == (
        f"hf:{tmp_path}/both:tests has no split 'tests'. Its splits are: train, test. Did you mean 'test'? Write the "
        "split behind the last colon."
    )
    assert refuse(f"hf:{tmp_path}/both") == (
        f"hf:{tmp_path}/both names no split. Its splits are: train, test. Write the split behind the last colon."
    )
    assert refuse(f"hf:{tmp_path}/both:en:test") == (
        f"hf:{tmp_path}/both:en:test: a folder that save_to_disk wrote has no configurations, and 'en' is asked for. "
        "Expected hf:FOLDER:SPLIT. Leave 'en' out."
    )


def test_a_folder_with_one_dataset_has_no_splits(tmp_path: Path):
    make().save_to_disk(tmp_path / "one")
    assert refuse(f"hf:{tmp_path}/one:train") == (
        f"hf:{tmp_path}/one:train has no split 'train': the folder holds a single dataset, which has no name. Expected "
        "hf:FOLDER. Leave the split out."
    )


def test_a_folder_of_files_is_read_as_datasets_reads_it(tmp_path: Path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "train.csv").write_text("text,label\nana,good\nwent,bad\n")
    found = read_labelled_rows(open_dataset(f"hf:{tmp_path}/files:train"), BY_ENDING)
    assert [(each.text, each.label) for each in found] == [("ana", "good"), ("went", "bad")]
    assert len(list(open_dataset(f"hf:{tmp_path}/files:train[:1]").read_rows(["text"]))) == 1
    assert refuse(f"hf:{tmp_path}/files:test") == (
        f"hf:{tmp_path}/files:test cannot be loaded: Unknown split \"test\". Should be one of ['train']. {LOADED}"
    )


def test_a_dataset_on_the_hub_is_asked_for_by_its_parts(monkeypatch: pytest.MonkeyPatch):
    asked: list[object] = []

    def load(place: str, config: str | None, *, split: str | None) -> Dataset:
        asked.append((place, config, split))
        return make(2)

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert len(read_tagged_rows(open_dataset("hf:owner/name:en:train[:2]"), BY_ENDING)) == 2
    open_dataset("hf:owner/name:test")
    assert asked == [("owner/name", "en", "train[:2]"), ("owner/name", None, "test")]


def test_what_cannot_be_reached_is_refused():
    assert refuse("hf:owner/name:train") == (
        f"hf:owner/name:train cannot be loaded: Couldn't reach 'owner/name' on the Hub (OfflineModeIsEnabled). {LOADED}"
    )
    assert refuse("hf:./data/none:train") == (
        "hf:./data/none:train cannot be loaded: there is no folder ./data/none. A folder with a dataset, or OWNER/NAME "
        "on the hub, was expected. Check the path; a relative one starts at the folder where the program was started."
    )


def test_a_dataset_without_rows_gives_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make(0).save_to_disk(tmp_path / "none")
    assert refuse(f"hf:{tmp_path}/none") == (
        f"hf:{tmp_path}/none has no rows. A dataset with rows was expected. Check that it is complete and is the one "
        "you meant."
    )
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, split: make(0))
    table = open_dataset("hf:owner/name:train")
    assert (table.columns, list(table.read_rows(["id"]))) == (("tokens", "ner_tags", "id"), [])
    make(1).save_to_disk(tmp_path / "single")
    assert len(read_tagged_rows(open_dataset(f"hf:{tmp_path}/single"), BY_ENDING)) == 1


def test_the_digest_is_that_of_the_rows(tmp_path: Path):
    make().save_to_disk(tmp_path / "first")
    first = digest_dataset(f"hf:{tmp_path}/first")
    assert len(first) == 64
    shutil.move(tmp_path / "first", tmp_path / "moved")
    assert digest_dataset(f"hf:{tmp_path}/moved") == first
    # Neither how the files are cut, nor when the dataset was made, nor the order of its columns matters.
    again = make().select_columns(["id", "ner_tags", "tokens"])
    DatasetDict({"train": again}).save_to_disk(tmp_path / "again", num_shards={"train": 3})
    assert digest_dataset(f"hf:{tmp_path}/again:train") == first


def test_the_digest_is_another_where_a_row_or_a_label_is(tmp_path: Path):
    other_names = Features({**make().features, "ner_tags": List(ClassLabel(names=["O", "B-LOC"]))})
    made = {
        "same": make(),
        "fewer": make(4),
        "token": make(tokens=[["ana", "went0"]] * 5),
        "tag": make(ner_tags=[[1, 0]] * 4 + [[0, 0]]),
        "beside": make(id=[0, 1, 2, 3, 9]),
        "order": make().select([1, 0, 2, 3, 4]),
        "names": make().cast(other_names),
        "column": make().rename_column("id", "number"),
    }
    digests = {}
    for name, dataset in made.items():
        dataset.save_to_disk(tmp_path / name)
        digests[name] = digest_dataset(f"hf:{tmp_path}/{name}")
    assert len(set(digests.values())) == len(made)


def test_without_datasets_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("polygraft.data.extra.find_spec", lambda package: None)
    with pytest.raises(MissingExtraError) as caught:
        open_dataset("hf:owner/name:train")
    assert str(caught.value) == (
        "hf:owner/name:train cannot be read without the package datasets, which is not installed. Expected it beside "
        "polygraft. Install it: pip install 'polygraft[datasets]'"
    )
