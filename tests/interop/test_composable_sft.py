"""Sparse fine-tunings of composable-sft: the numbers that its library gave, and the way back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.interop.golden import FORMATS, load_golden_base, read_case
from tests.tiny import make_base, make_trained_graft
from torch import Tensor

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft
from polygraft.attach.sparse import find_edit, read_values
from polygraft.base.base import Base
from polygraft.errors import DataError, GraftError
from polygraft.interop.certificate import certify
from polygraft.interop.composable_sft import FILE, export_composable_sft, import_composable_sft
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.delta import Delta, DeltaLayers
from polygraft.parts.head import Head

FOLDER = FORMATS / "composable-sft" / "bert"
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
WORD = "bert.embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def base() -> Base:
    return load_golden_base(FOLDER)


@pytest.fixture(scope="module")
def task(base: Base) -> Graft:
    return import_composable_sft(base, FOLDER / "task-ner", name="ner", labels=LABELS).graft


@pytest.fixture(scope="module")
def language(base: Base) -> Graft:
    return import_composable_sft(base, FOLDER / "lang-qu", name="qu").graft


def load(folder: Path) -> dict[str, Any]:
    return torch.load(folder / FILE, weights_only=False)


def decode(diff: dict[str, Any]) -> Tensor:
    """The difference, dense, by the formula of the library: the first axis is the fastest."""
    dense = np.zeros(diff["size"].numel(), dtype=np.float32)
    dense[np.cumsum(np.array(diff["index_steps"], dtype=np.int64))] = diff["values"].numpy()
    return torch.from_numpy(dense.reshape(tuple(diff["size"]), order="F").copy())


def test_a_task_gives_the_librarys_scores(base: Base, task: Graft):
    certificate = certify(base, task, read_case(FOLDER, "task"))
    assert certificate.compared == "scores of labels"
    assert certificate.largest_difference < 1e-5
    assert certificate.num_values == int(read_case(FOLDER, "task").attention_mask.sum()) * 5


@torch.no_grad()
def test_a_task_over_a_language_gives_the_librarys_scores(base: Base, task: Graft, language: Graft):
    case = read_case(FOLDER, "task+lang")
    for plan in ("stack(qu, ner)", "stack(ner, qu)"):
        with attach(base, plan, grafts=[task, language]) as attachment:
            scores = attachment.score(case.input_ids, case.attention_mask)
        difference = (scores - case.outputs).abs()[case.attention_mask.bool()]
        assert difference.max() < 1e-5


def test_the_wrong_graft_is_refused_with_its_difference(base: Base, task: Graft):
    with pytest.raises(GraftError) as caught:
        certify(base, task, read_case(FOLDER, "task+lang"))
    message = str(caught.value)
    assert message.startswith("The graft 'ner' gives scores of labels that differ by up to ")
    assert message.endswith(
        " from those expected. Expected at most 1e-05. The base may be another one than that it was trained on, or "
        "the input may be: nothing was stored. Compare the base's name and the tokenizer."
    )


@pytest.mark.parametrize(("name", "fixture"), [("task-ner", "task"), ("lang-qu", "language")])
def test_every_difference_stands_where_the_library_puts_it(
    name: str, fixture: str, request: pytest.FixtureRequest
):
    values = read_values(find_edit(request.getfixturevalue(fixture), DeltaLayers))
    diffs = load(FOLDER / name)["diffs"]
    assert {f"bert.{own}" for own in values} == diffs.keys()
    for theirs, diff in diffs.items():
        assert torch.equal(values[theirs.removeprefix("bert.")], decode(diff))


@pytest.mark.parametrize(("name", "fixture"), [("task-ner", "task"), ("lang-qu", "language")])
def test_there_and_back_every_number_is_the_same(
    base: Base, tmp_path: Path, name: str, fixture: str, request: pytest.FixtureRequest
):
    path = export_composable_sft(base, request.getfixturevalue(fixture), tmp_path / "out")
    assert path == tmp_path / "out" / FILE
    old, new = load(FOLDER / name), load(tmp_path / "out")
    assert list(new) == list(old) == ["diffs", "abs"]
    assert list(new["diffs"]) == list(old["diffs"])
    for theirs, diff in old["diffs"].items():
        found = new["diffs"][theirs]
        assert list(found) == list(diff)
        assert found["size"] == diff["size"]
        assert isinstance(found["size"], torch.Size)
        assert found["index_steps"] == [int(step) for step in diff["index_steps"]]
        assert torch.equal(found["values"], diff["values"])
    assert list(new["abs"]) == list(old["abs"])
    assert all(torch.equal(new["abs"][theirs], old["abs"][theirs]) for theirs in old["abs"])


def test_a_trained_delta_of_ours_comes_back(tmp_path: Path):
    base = make_base("xlm-roberta")
    parts = [
        Delta(weights=("encoder.layer.1.*.weight", "bias")),
        Head(objective="sequence", labels=("a", "b")),
    ]
    graft = make_trained_graft(base, "own", parts)
    export_composable_sft(base, graft, tmp_path)
    back = import_composable_sft(base, tmp_path, name="own", labels=("a", "b")).graft
    ours, theirs = (read_values(find_edit(each, DeltaLayers)) for each in (graft, back))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    head = [name for name in graft.tensors() if name.startswith("head.")]
    assert len(head) == 4
    assert all(torch.equal(graft.tensors()[name], back.tensors()[name]) for name in head)


def test_labels_without_names_are_called_as_transformers_does(base: Base):
    imported = import_composable_sft(base, FOLDER / "task-ner", name="ner")
    assert imported.graft.labels == ("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3", "LABEL_4")
    assert imported.origin.notes == ("The file has no names of labels; they are called LABEL_0 to LABEL_4.",)
    assert imported.origin.num_tensors == 55


def test_a_zip_of_the_folder_is_read(base: Base, tmp_path: Path, task: Graft):
    path = shutil.make_archive(str(tmp_path / "task"), "zip", FOLDER, "task-ner")
    graft = import_composable_sft(base, Path(path), name="ner", labels=LABELS).graft
    assert all(torch.equal(graft.tensors()[name], tensor) for name, tensor in task.tensors().items())


def spoil(tmp_path: Path, components: object) -> Path:
    torch.save(components, tmp_path / FILE)
    return tmp_path


def make_diff(**changes: Any) -> dict[str, Any]:
    diff = {"size": torch.Size([120, 32]), "index_steps": [3, 2], "values": torch.tensor([1.0, 2.0])}
    return {"diffs": {WORD: {**diff, **changes}}, "abs": {}}


def refusal(what: str, reason: str) -> str:
    return (
        f"{what} is no sparse fine-tuning: {reason}. Expected 'diffs', each with size, index_steps and values, and "
        "'abs', tensors by name. Get it again from where it was made."
    )


@pytest.mark.parametrize(
    ("components", "reason"),
    [
        ([1], "it holds list"),
        ({"weights": {}}, "it has the key 'weights'"),
        ({"diffs": [1]}, "what stands under 'diffs' is not by name"),
        ({"diffs": {WORD: {"size": torch.Size([1])}}}, "a difference has other keys"),
        (make_diff(index_steps=[3, -1]), "its steps do not lead from one place to a later one"),
        (make_diff(index_steps=[3, 0]), "its steps do not lead from one place to a later one"),
        (make_diff(index_steps=[3, 3837]), "its steps lead to place 3840 of 3840"),
        (make_diff(index_steps=[3, 2.5]), "its steps are no whole numbers"),
        (make_diff(index_steps=[3]), "it has 1 steps and other than so many values"),
    ],
)
def test_a_damaged_file_is_refused_in_a_sentence(base: Base, tmp_path: Path, components: object, reason: str):
    folder = spoil(tmp_path, components)
    with pytest.raises(DataError) as caught:
        import_composable_sft(base, folder, name="x")
    is_diff = isinstance(components, dict) and isinstance(components.get("diffs"), dict)
    where = f"{folder}/{FILE}, '{WORD}'" if is_diff else f"{folder}/{FILE}"
    assert str(caught.value) == refusal(where, reason)


def test_a_difference_that_is_no_number_is_refused(base: Base, tmp_path: Path):
    folder = spoil(tmp_path, make_diff(values=torch.tensor([1.0, float("nan")])))
    with pytest.raises(DataError) as caught:
        import_composable_sft(base, folder, name="x")
    assert str(caught.value) == (
        f"{folder}/{FILE}, '{WORD}': 1 of 2 values are infinite or not a number. Expected numbers. The training that "
        "made them went wrong, or the file is damaged: get another."
    )


def test_a_file_without_differences_is_refused(base: Base, tmp_path: Path):
    folder = spoil(tmp_path, {"diffs": {}, "abs": {}})
    with pytest.raises(DataError) as caught:
        import_composable_sft(base, folder, name="x")
    assert str(caught.value) == (
        f"{folder}/{FILE} changes no weight. Expected differences of at least one. It was written before it was "
        "trained: get another."
    )


def test_a_weight_of_another_shape_is_refused(base: Base, tmp_path: Path):
    folder = spoil(tmp_path, make_diff(size=torch.Size([32, 120])))
    with pytest.raises(GraftError) as caught:
        import_composable_sft(base, folder, name="x")
    assert str(caught.value) == (
        f"{folder}/{FILE}, '{WORD}' has the shape [32, 120], and the weight 'embeddings.word_embeddings.weight' of the "
        "base has [120, 32]. Expected equal shapes. Import it on the base that it was trained on."
    )


def test_a_weight_that_the_base_has_not_is_refused(base: Base, tmp_path: Path):
    name = "bert.pooler.dense.weight"
    folder = spoil(tmp_path, {"diffs": {name: make_diff()["diffs"][WORD]}, "abs": {}})
    with pytest.raises(GraftError) as caught:
        import_composable_sft(base, folder, name="x")
    assert str(caught.value).startswith(
        f"{folder}/{FILE} changes the weight '{name}', and the base 'bert' has none of that name. Expected weights of "
        "the encoder, such as 'bert.embeddings.word_embeddings.weight'."
    )


def test_a_head_that_is_not_known_is_refused(base: Base, tmp_path: Path):
    folder = spoil(tmp_path, {**make_diff(), "abs": {"qa_outputs.weight": torch.ones(2, 32)}})
    with pytest.raises(DataError) as caught:
        import_composable_sft(base, folder, name="x")
    assert str(caught.value) == (
        f"{folder}/{FILE} has the tensors qa_outputs.weight, which are no head that polygraft knows for a base "
        "of the family 'bert'. Expected those of one of these: tokens: classifier.weight, classifier.bias; "
        "sequence: bert.pooler.dense.weight, bert.pooler.dense.bias, classifier.weight, classifier.bias; mlm: "
        "cls.predictions.transform.dense.weight, cls.predictions.transform.dense.bias, "
        "cls.predictions.transform.LayerNorm.weight, cls.predictions.transform.LayerNorm.bias. Import the file "
        "without its head, or train a head anew."
    )


def test_other_than_so_many_labels_are_refused(base: Base):
    with pytest.raises(DataError) as caught:
        import_composable_sft(base, FOLDER / "task-ner", name="ner", labels=["O", "B-PER"])
    assert str(caught.value) == (
        f"{FOLDER}/task-ner/{FILE} has a head for 5 labels, and 2 were given: O, B-PER. Expected one name for each, "
        "in order. Correct them."
    )


def test_labels_for_a_file_without_a_head_are_refused(base: Base):
    with pytest.raises(DataError) as caught:
        import_composable_sft(base, FOLDER / "lang-qu", name="qu", labels=["O", "B-PER"])
    assert str(caught.value) == (
        f"{FOLDER}/lang-qu/{FILE} has no head, and the 2 labels O, B-PER were given. Expected labels for a file with a "
        "head only. Leave the labels out."
    )


def test_a_graft_of_other_parts_is_not_exported(base: Base, tmp_path: Path):
    graft = make_trained_graft(base, "ner", [Bottleneck(reduction=8)])
    with pytest.raises(GraftError) as caught:
        export_composable_sft(base, graft, tmp_path)
    assert str(caught.value) == (
        "The graft 'ner' has a bottleneck, and composable-sft knows differences and heads for labels only. Expected a "
        "graft of a delta, with a head or without. Export another graft."
    )
    assert list(tmp_path.iterdir()) == []
