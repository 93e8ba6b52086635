"""AdapterHub's folders as grafts: the numbers that its library gave, old files, and what does not fit."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.interop.golden import read_case
from tests.interop.hub_folder import HUB, Folder, read, same

from polygraft.attach.attach import attach
from polygraft.base.base import Base
from polygraft.errors import DataError, GraftError
from polygraft.interop.adapterhub import import_adapterhub
from polygraft.interop.certificate import certify
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.invertible import Invertible

ADAPTERS = ("qu", "ner", "ner_drop", "houlsby", "parallel", "lora", "ia3", "prefix", "compacter")


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_gives_the_librarys_hidden_state(hub_base: Base, hub_family: Path, name: str):
    graft = read(hub_base, hub_family / "adapters" / name, name)
    certificate = certify(hub_base, graft, read_case(hub_family, name))
    assert certificate.compared == "hidden states"
    assert certificate.largest_difference < 1e-5


@pytest.mark.parametrize(
    ("case", "plan"),
    [
        ("stack-qu-ner-head", "stack(qu, ner)"),
        ("stack-en-ner-head", "stack(en, ner)"),
        ("ner-topic-head", "stack(ner2, topic)"),
    ],
)
@torch.no_grad()
def test_a_stack_with_a_head_gives_the_librarys_scores(
    hub_base: Base, hub_family: Path, tmp_path: Path, case: str, plan: str
):
    shutil.copytree(hub_family / "adapters" / "ner", tmp_path / "ner")
    shutil.copytree(hub_family / "heads" / "ner", tmp_path / "ner", dirs_exist_ok=True)
    grafts = [
        read(hub_base, hub_family / "adapters" / "qu", "qu"),
        read(hub_base, hub_family / "adapters" / "en", "en"),
        read(hub_base, tmp_path / "ner", "ner"),
        read(hub_base, tmp_path / "ner", "ner2", with_head=False),
        read(hub_base, hub_family / "heads" / "topic", "topic"),
    ]
    assert [part.kind for part in grafts[2].parts] == ["bottleneck", "head"]
    assert [part.kind for part in grafts[3].parts] == ["bottleneck"]
    expected = read_case(hub_family, case)
    with attach(hub_base, plan, grafts=grafts) as attachment:
        difference = (attachment.score(expected.input_ids, expected.attention_mask) - expected.outputs).abs()
    if difference.dim() == 3:
        difference = difference[expected.attention_mask.bool()]
    assert difference.max() < 1e-5


def test_a_language_with_its_masked_lm_head_gives_the_librarys_scores(
    hub_base: Base, hub_family: Path, tmp_path: Path
):
    shutil.copytree(hub_family / "adapters" / "qu", tmp_path / "qu")
    shutil.copytree(hub_family / "heads" / "qu", tmp_path / "qu", dirs_exist_ok=True)
    graft = read(hub_base, tmp_path / "qu", "qu")
    assert [part.kind for part in graft.parts] == ["bottleneck", "invertible", "head"]
    certificate = certify(hub_base, graft, read_case(hub_family, "qu-mlm-head"))
    assert certificate.compared == "scores of pieces"
    assert certificate.largest_difference < 1e-5


def test_what_came_over_is_written_down(hub_bert: Base):
    imported = import_adapterhub(hub_bert, HUB / "bert" / "adapters" / "qu", name="quechua")
    origin = imported.origin
    assert (origin.library, origin.version, origin.made_for, origin.num_tensors) == (
        "adapterhub",
        "adapters.1.3.0",
        "tiny-bert",
        20,
    )
    assert origin.digests.keys() == {"adapter_config.json", "pytorch_adapter.bin"}
    assert imported.graft.parts == (
        Bottleneck(reduction=2, activation="relu", scaling=1.0),
        Invertible(reduction=4, activation="relu"),
    )


def test_safetensors_are_read(hub_bert: Base, qu: Folder):
    wanted = read(hub_bert, qu.path, "qu")
    save_file(qu.tensors(), qu.path / "adapter.safetensors")
    (qu.path / "pytorch_adapter.bin").unlink()
    assert same(read(hub_bert, qu.path, "qu"), wanted)


@pytest.mark.parametrize("root", [None, "qu"], ids=["at the top", "in a folder"])
def test_a_zip_is_read(hub_bert: Base, qu: Folder, tmp_path: Path, root: str | None):
    path = tmp_path / "qu.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in qu.path.iterdir():
            archive.write(file, f"{root}/{file.name}" if root else file.name)
    assert same(read(hub_bert, path, "qu"), read(hub_bert, qu.path, "qu"))


def make_old(folder: Folder, kind: str) -> None:
    """Write a folder as the first releases did: older names, a nested invertible part, capitals, no version."""
    document, tensors = folder.config(), folder.tensors()
    config = document["config"]
    old = {
        "LN_after": False,
        "LN_before": False,
        "MH_Adapter": config["mh_adapter"],
        "Output_Adapter": True,
        "adapter_residual_before_ln": False,
        "attention_type": "sent-lvl-dynamic",
        "invertible_adapter": {"block_type": "nice", "non_linearity": "relu", "reduction_factor": 4},
        "new_attention_norm": False,
        "non_linearity": {"gelu": "gelu_orig"}.get(config["non_linearity"], config["non_linearity"]),
        "original_ln_after": True,
        "original_ln_before": config["original_ln_before"],
        "reduction_factor": config["reduction_factor"],
        "residual_before_ln": True,
    }
    del document["version"]
    folder.write({**document, "config": old, "type": f"text_{kind}", "config_id": "9076f36a74755ac4"})
    renamed = {
        name.replace("attention.output.adapters", f"attention.output.attention_text_{kind}_adapters")
        .replace("output.adapters", f"output.layer_text_{kind}_adapters")
        .replace("invertible_adapters", "invertible_lang_adapters"): tensor
        for name, tensor in tensors.items()
    }
    folder.save(renamed, _use_new_zipfile_serialization=False)


def test_a_language_adapter_of_the_first_releases_is_read(hub_bert: Base, qu: Folder):
    wanted = read(hub_bert, qu.path, "qu")
    make_old(qu, "lang")
    imported = import_adapterhub(hub_bert, qu.path, name="qu")
    assert same(imported.graft, wanted)
    assert imported.origin.version is None
    assert certify(hub_bert, imported.graft, read_case(HUB / "bert", "qu")).largest_difference < 1e-5


@pytest.mark.parametrize("name", ["ner", "houlsby"])
def test_a_task_adapter_of_the_first_releases_has_no_invertible_part(
    hub_bert: Base, tmp_path: Path, name: str
):
    folder = Folder(tmp_path, f"adapters/{name}")
    wanted = read(hub_bert, folder.path, name)
    make_old(folder, "task")
    imported = import_adapterhub(hub_bert, folder.path, name=name)
    assert same(imported.graft, wanted)
    assert imported.origin.notes == (
        "Its configuration names an invertible part that adapters of tasks never had; there is none.",
    )
    assert certify(hub_bert, imported.graft, read_case(HUB / "bert", name)).largest_difference < 1e-5


def test_gelu_meant_another_function_before_files_had_a_version(hub_bert: Base, ner: Folder):
    document = ner.config()
    del document["version"]
    ner.write(document)
    (part,) = read(hub_bert, ner.path, "ner").parts
    assert part == Bottleneck(reduction=8, activation="gelu_new", scaling=1.0)


def test_widths_that_differ_by_layer_become_bottlenecks_of_their_own(hub_bert: Base, ner: Folder):
    qu = torch.load(HUB / "bert" / "adapters" / "qu" / "pytorch_adapter.bin", weights_only=True)
    wide = {name.replace(".qu.", ".ner."): tensor for name, tensor in qu.items() if "layer.1." in name}
    ner.save({name: tensor for name, tensor in ner.tensors().items() if "layer.1." not in name} | wide)
    ner.change(reduction_factor={"1": 2, "default": 8})
    graft = read(hub_bert, ner.path, "ner")
    assert graft.parts == (
        Bottleneck(reduction=8, activation="gelu", scaling=1.0, skip_layers=(1,)),
        Bottleneck(reduction=2, activation="gelu", scaling=1.0, skip_layers=(0, 2)),
    )
    assert torch.equal(
        graft.tensors()["bottleneck_2.layers.1.ffn.up.bias"],
        wide["bert.encoder.layer.1.output.adapters.ner.adapter_up.bias"],
    )


def test_every_layer_has_to_have_the_same_prefix_network(hub_bert: Base, tmp_path: Path):
    folder = Folder(tmp_path, "adapters/prefix")
    tensors = folder.tensors()
    short = "encoder.layer.1.attention.self.prefix_tuning.pool.prefix_tunings.prefix.self_prefix.wte.weight"
    tensors[f"bert.{short}"] = tensors[f"bert.{short}"] + 1
    folder.save(tensors)
    with pytest.raises(DataError) as caught:
        read(hub_bert, folder.path, "prefix")
    assert str(caught.value) == (
        f"{folder.path} has the prefix's network once for each layer, and '{short}' differs from the others. Expected "
        "equal ones, since that library has one for all layers. Get the files again from where they were made."
    )


def test_the_factors_of_an_ia3_are_multiplied_by_its_alpha(hub_bert: Base, tmp_path: Path):
    folder = Folder(tmp_path, "adapters/ia3")
    once = read(hub_bert, folder.path, "ia3").tensors()
    folder.change(alpha=3)
    thrice = read(hub_bert, folder.path, "ia3").tensors()
    assert all(torch.equal(thrice[name], 3 * once[name]) for name in once)


ONE = "encoder.layer.0.output.adapters.ner.adapter_down.0.bias"


@pytest.mark.parametrize(
    ("missing", "added", "told"),
    [
        (f"bert.{ONE}", None, f"lacks 1 of them (such as '{ONE}')"),
        (None, "bert.more", "has 1 that nothing uses (such as 'bert.more')"),
        (
            f"bert.{ONE}",
            "bert.more",
            f"lacks 1 of them (such as '{ONE}') and has 1 that nothing uses (such as 'bert.more')",
        ),
    ],
)
def test_a_tensor_too_few_or_too_many_is_refused(
    hub_bert: Base, ner: Folder, missing: str | None, added: str | None, told: str
):
    tensors = {name: tensor for name, tensor in ner.tensors().items() if name != missing}
    ner.save(tensors | ({added: torch.ones(1)} if added else {}))
    with pytest.raises(DataError) as caught:
        read(hub_bert, ner.path, "ner")
    assert str(caught.value) == (
        f"{ner.path} does not have the tensors that its configuration asks for: it {told}. Expected exactly 12, for a "
        "base of the same shape. Import it on the base that it was trained on, with files that belong together."
    )


def test_a_tensor_of_another_shape_is_refused(hub_bert: Base, ner: Folder):
    ner.change(reduction_factor=4)
    with pytest.raises(GraftError) as caught:
        read(hub_bert, ner.path, "ner")
    assert str(caught.value) == (
        "The tensor 'bottleneck.layers.0.ffn.down.bias' of the graft 'ner' has the shape [4] where [8] was expected. "
        f"The graft was made for a base of other sizes. It was to be made of {ner.path}."
    )


def test_an_adapter_of_another_kind_of_base_is_refused(hub_bert: Base):
    folder = HUB / "xlm-roberta" / "adapters" / "ner"
    with pytest.raises(GraftError) as caught:
        read(hub_bert, folder, "ner")
    assert str(caught.value) == (
        f"{folder}/adapter_config.json is of an adapter for a base of the type xlm-roberta, and 'bert' is of the type "
        "bert. Expected one type. Import it on the base that it was trained on."
    )


def test_a_folder_of_something_else_is_refused(hub_bert: Base, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError) as caught:
        read(hub_bert, tmp_path, "x")
    assert str(caught.value) == (
        f"{tmp_path} has no file adapter_config.json: there is notes.txt. Expected the folder that the other library "
        "wrote. Name that folder, or a zip of it."
    )
