"""AdapterHub's fusions: the numbers that its library gave, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.interop.golden import read_case
from tests.interop.hub_folder import Folder, read, same

from polygraft.attach.attach import attach
from polygraft.base.base import Base
from polygraft.errors import DataError
from polygraft.interop.adapterhub import import_adapterhub
from polygraft.interop.imported import describe_import
from polygraft.parts.fusion import Fusion


def test_a_fusion_gives_the_librarys_hidden_state(hub_base: Base, hub_family: Path):
    imported = import_adapterhub(hub_base, hub_family / "fusion" / "en,ner", name="mix")
    grafts = [read(hub_base, hub_family / "adapters" / name, name) for name in ("en", "ner")]
    expected = read_case(hub_family, "fuse-en-ner")
    with (
        torch.no_grad(),
        attach(hub_base, "fuse(en, ner, by=mix)", grafts=[*grafts, imported.graft]) as attachment,
    ):
        hidden = attachment.run(expected.input_ids, expected.attention_mask)
    difference = (hidden - expected.outputs).abs()[expected.attention_mask.bool()]
    assert difference.max() < 1e-5
    assert imported.graft.parts == (Fusion(),)
    manifest = describe_import(hub_base, imported, certificate=None)
    assert manifest.trained_under == "fuse(en, ner, by=mix)"
    record = manifest.hyperparameters["import"]
    assert isinstance(record, dict)
    assert record["members"] == ["en", "ner"]
    assert record["notes"] == [
        "The folder does not say where its members stand: a fusion asks with the normed sum at ffn, which is what that "
        "library does for all members but parallel ones."
    ]


FUSION = "adapter_fusion_config.json"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"query": False}, "has query = false: a fusion has all three projections. Expected true"),
        ({"key": False}, "has key = false: a fusion has all three projections. Expected true"),
        ({"value": False}, "has value = false: a fusion has all three projections. Expected true"),
        (
            {"query_before_ln": True},
            "has query_before_ln = true: a fusion asks with what its members read. Expected false",
        ),
        (
            {"residual_before": True},
            "has residual_before = true: a fusion mixes what its members add, without the residual. Expected false",
        ),
        ({"temperature": True}, "has temperature = true: a fusion has no temperature. Expected false"),
        (
            {"value_before_softmax": 2},
            "has value_before_softmax = 2: that is no truth value. Expected true or false",
        ),
    ],
)
def test_a_fusion_of_another_kind_is_refused_by_key_and_value(
    hub_bert: Base, tmp_path: Path, changes: dict[str, Any], reason: str
):
    folder = Folder(tmp_path, "fusion/en,ner")
    folder.change(FUSION, **changes)
    with pytest.raises(DataError) as caught:
        read(hub_bert, folder.path, "mix")
    assert str(caught.value) == (
        f"{folder.path}/{FUSION}, config {reason}. What was trained with that cannot be brought over; nothing was "
        "written."
    )


def test_a_fusion_may_leave_layers_out_and_project_values_at_last(hub_bert: Base, tmp_path: Path):
    folder, weights = Folder(tmp_path, "fusion/en,ner"), "pytorch_model_adapter_fusion.bin"
    folder.change(FUSION, value_before_softmax=False)
    tensors = folder.tensors(weights)
    folder.save({name: tensor for name, tensor in tensors.items() if ".layer.1." not in name}, weights)
    assert read(hub_bert, folder.path, "mix").parts == (Fusion(skip_layers=(1,)),)


@pytest.mark.parametrize("name", ["blend", None])
def test_a_fusion_may_have_a_name_of_its_own(hub_bert: Base, tmp_path: Path, name: str | None):
    folder, weights = Folder(tmp_path, "fusion/en,ner"), "pytorch_model_adapter_fusion.bin"
    wanted = read(hub_bert, folder.path, "mix")
    folder.write({**folder.config(FUSION), "name": name}, FUSION)
    tensors = folder.tensors(weights)
    (folder.path / weights).unlink()
    renamed = {key.replace("en,ner", name or "en,ner"): tensor for key, tensor in tensors.items()}
    save_file(renamed, folder.path / "model_adapter_fusion.safetensors")
    assert same(read(hub_bert, folder.path, "mix"), wanted)


def test_a_fusion_without_its_tensors_is_refused(hub_bert: Base, tmp_path: Path):
    folder, weights = Folder(tmp_path, "fusion/en,ner"), "pytorch_model_adapter_fusion.bin"
    tensors = folder.tensors(weights)
    folder.save({}, weights)
    with pytest.raises(DataError) as caught:
        read(hub_bert, folder.path, "mix")
    assert str(caught.value) == (
        f"{folder.path} has no tensors of a fusion in the 3 layers of 'bert'. Expected some under "
        "'encoder.layer.0.output.adapter_fusion_layer.en,ner'. Import it on the base that it was trained on."
    )
    missing = "encoder.layer.0.output.adapter_fusion_layer.en,ner.key.bias"
    folder.save({name: tensor for name, tensor in tensors.items() if name != f"bert.{missing}"}, weights)
    with pytest.raises(DataError) as caught:
        read(hub_bert, folder.path, "mix")
    assert str(caught.value) == (
        f"{folder.path} does not have the tensors that its configuration asks for: it lacks 1 of them (such as "
        f"'{missing}'). Expected exactly 15, for a base of the same shape. Import it on the base that it was trained "
        "on, with files that belong together."
    )


def test_a_fusion_of_one_adapter_is_refused(hub_bert: Base, tmp_path: Path):
    folder = Folder(tmp_path, "fusion/en,ner")
    folder.write({**folder.config(FUSION), "adapter_names": ["en"]}, FUSION)
    with pytest.raises(DataError) as caught:
        read(hub_bert, folder.path, "mix")
    assert str(caught.value) == (
        f"{folder.path}/{FUSION} has the adapter_names en. Expected the names of two adapters or more, and a "
        "configuration. Get the file again from where it was made."
    )
