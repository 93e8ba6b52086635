"""AdapterHub's folders as grafts: the numbers that its library gave, old files, and what is refused."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.interop.golden import FORMATS, load_golden_base, read_case

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft
from polygraft.base.base import Base
from polygraft.errors import DataError, GraftError
from polygraft.interop.adapterhub import import_adapterhub
from polygraft.interop.certificate import certify
from polygraft.interop.imported import describe_import
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.fusion import Fusion
from polygraft.parts.head import Head
from polygraft.parts.invertible import Invertible

HUB = FORMATS / "adapterhub"
ADAPTERS = ("qu", "ner", "ner_drop", "houlsby", "parallel", "lora", "ia3", "prefix", "compacter")


@pytest.fixture(scope="module", params=["bert", "xlm-roberta"])
def family(request: pytest.FixtureRequest) -> Path:
    return HUB / request.param


@pytest.fixture(scope="module")
def base(family: Path) -> Base:
    return load_golden_base(family)


@pytest.fixture(scope="module")
def bert() -> Base:
    return load_golden_base(HUB / "bert")


def read(base: Base, folder: Path, name: str, **options: bool) -> Graft:
    return import_adapterhub(base, folder, name=name, **options).graft


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_gives_the_librarys_hidden_state(base: Base, family: Path, name: str):
    graft = read(base, family / "adapters" / name, name)
    certificate = certify(base, graft, read_case(family, name))
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
    base: Base, family: Path, tmp_path: Path, case: str, plan: str
):
    shutil.copytree(family / "adapters" / "ner", tmp_path / "ner")
    shutil.copytree(family / "heads" / "ner", tmp_path / "ner", dirs_exist_ok=True)
    grafts = [
        read(base, family / "adapters" / "qu", "qu"),
        read(base, family / "adapters" / "en", "en"),
        read(base, tmp_path / "ner", "ner"),
        read(base, tmp_path / "ner", "ner2", with_head=False),
        read(base, family / "heads" / "topic", "topic"),
    ]
    assert [part.kind for part in grafts[2].parts] == ["bottleneck", "head"]
    assert [part.kind for part in grafts[3].parts] == ["bottleneck"]
    expected = read_case(family, case)
    with attach(base, plan, grafts=grafts) as attachment:
        difference = (attachment.score(expected.input_ids, expected.attention_mask) - expected.outputs).abs()
    if difference.dim() == 3:
        difference = difference[expected.attention_mask.bool()]
    assert difference.max() < 1e-5


def test_a_language_with_its_masked_lm_head_gives_the_librarys_scores(
    base: Base, family: Path, tmp_path: Path
):
    shutil.copytree(family / "adapters" / "qu", tmp_path / "qu")
    shutil.copytree(family / "heads" / "qu", tmp_path / "qu", dirs_exist_ok=True)
    graft = read(base, tmp_path / "qu", "qu")
    assert [part.kind for part in graft.parts] == ["bottleneck", "invertible", "head"]
    certificate = certify(base, graft, read_case(family, "qu-mlm-head"))
    assert certificate.compared == "scores of pieces"
    assert certificate.largest_difference < 1e-5


def test_a_fusion_gives_the_librarys_hidden_state(base: Base, family: Path):
    imported = import_adapterhub(base, family / "fusion" / "en,ner", name="mix")
    grafts = [read(base, family / "adapters" / name, name) for name in ("en", "ner")]
    expected = read_case(family, "fuse-en-ner")
    with (
        torch.no_grad(),
        attach(base, "fuse(en, ner, by=mix)", grafts=[*grafts, imported.graft]) as attachment,
    ):
        hidden = attachment.run(expected.input_ids, expected.attention_mask)
    difference = (hidden - expected.outputs).abs()[expected.attention_mask.bool()]
    assert difference.max() < 1e-5
    assert imported.graft.parts == (Fusion(),)
    manifest = describe_import(base, imported, certificate=None)
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
    bert: Base, tmp_path: Path, changes: dict[str, Any], reason: str
):
    folder = Folder(tmp_path, "fusion/en,ner")
    folder.change(FUSION, **changes)
    with pytest.raises(DataError) as caught:
        read(bert, folder.path, "mix")
    assert str(caught.value) == (
        f"{folder.path}/{FUSION}, config {reason}. What was trained with that cannot be brought over; nothing was "
        "written."
    )


def test_a_fusion_may_leave_layers_out_and_project_values_at_last(bert: Base, tmp_path: Path):
    folder, weights = Folder(tmp_path, "fusion/en,ner"), "pytorch_model_adapter_fusion.bin"
    folder.change(FUSION, value_before_softmax=False)
    tensors = folder.tensors(weights)
    folder.save({name: tensor for name, tensor in tensors.items() if ".layer.1." not in name}, weights)
    assert read(bert, folder.path, "mix").parts == (Fusion(skip_layers=(1,)),)


@pytest.mark.parametrize("name", ["blend", None])
def test_a_fusion_may_have_a_name_of_its_own(bert: Base, tmp_path: Path, name: str | None):
    folder, weights = Folder(tmp_path, "fusion/en,ner"), "pytorch_model_adapter_fusion.bin"
    wanted = read(bert, folder.path, "mix")
    folder.write({**folder.config(FUSION), "name": name}, FUSION)
    tensors = folder.tensors(weights)
    (folder.path / weights).unlink()
    renamed = {key.replace("en,ner", name or "en,ner"): tensor for key, tensor in tensors.items()}
    save_file(renamed, folder.path / "model_adapter_fusion.safetensors")
    assert same(read(bert, folder.path, "mix"), wanted)


def test_a_fusion_without_its_tensors_is_refused(bert: Base, tmp_path: Path):
    folder, weights = Folder(tmp_path, "fusion/en,ner"), "pytorch_model_adapter_fusion.bin"
    tensors = folder.tensors(weights)
    folder.save({}, weights)
    with pytest.raises(DataError) as caught:
        read(bert, folder.path, "mix")
    assert str(caught.value) == (
        f"{folder.path} has no tensors of a fusion in the 3 layers of 'bert'. Expected some under "
        "'encoder.layer.0.output.adapter_fusion_layer.en,ner'. Import it on the base that it was trained on."
    )
    missing = "encoder.layer.0.output.adapter_fusion_layer.en,ner.key.bias"
    folder.save({name: tensor for name, tensor in tensors.items() if name != f"bert.{missing}"}, weights)
    with pytest.raises(DataError) as caught:
        read(bert, folder.path, "mix")
    assert str(caught.value) == (
        f"{folder.path} does not have the tensors that its configuration asks for: it lacks 1 of them (such as "
        f"'{missing}'). Expected exactly 15, for a base of the same shape. Import it on the base that it was trained "
        "on, with files that belong together."
    )


def test_a_fusion_of_one_adapter_is_refused(bert: Base, tmp_path: Path):
    folder = Folder(tmp_path, "fusion/en,ner")
    folder.write({**folder.config(FUSION), "adapter_names": ["en"]}, FUSION)
    with pytest.raises(DataError) as caught:
        read(bert, folder.path, "mix")
    assert str(caught.value) == (
        f"{folder.path}/{FUSION} has the adapter_names en. Expected the names of two adapters or more, and a "
        "configuration. Get the file again from where it was made."
    )


def test_labels_come_over_in_the_order_of_their_numbers(bert: Base):
    graft = read(bert, HUB / "bert" / "heads" / "ner", "ner")
    assert graft.labels == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def test_what_came_over_is_written_down(bert: Base):
    imported = import_adapterhub(bert, HUB / "bert" / "adapters" / "qu", name="quechua")
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


class Folder:
    """A copy of a golden folder that a test may change."""

    def __init__(self, folder: Path, *sources: str) -> None:
        self.path = folder / "changed"
        for source in sources:
            shutil.copytree(HUB / "bert" / source, self.path, dirs_exist_ok=True)

    def config(self, file: str = "adapter_config.json") -> dict[str, Any]:
        return json.loads((self.path / file).read_text())

    def change(self, file: str = "adapter_config.json", **changes: Any) -> None:
        """Change keys of the inner configuration."""
        document = self.config(file)
        document["config"].update(changes)
        self.write(document, file)

    def write(self, document: dict[str, Any], file: str = "adapter_config.json") -> None:
        (self.path / file).write_text(json.dumps(document))

    def tensors(self, file: str = "pytorch_adapter.bin") -> dict[str, torch.Tensor]:
        return torch.load(self.path / file, weights_only=True)

    def save(self, tensors: dict[str, Any], file: str = "pytorch_adapter.bin", **options: bool) -> None:
        torch.save(tensors, self.path / file, **options)


@pytest.fixture
def ner(tmp_path: Path) -> Folder:
    return Folder(tmp_path, "adapters/ner")


@pytest.fixture
def qu(tmp_path: Path) -> Folder:
    return Folder(tmp_path, "adapters/qu")


def same(a: Graft, b: Graft) -> bool:
    return a.parts == b.parts and all(
        torch.equal(tensor, b.tensors()[name]) for name, tensor in a.tensors().items()
    )


def test_safetensors_are_read(bert: Base, qu: Folder):
    wanted = read(bert, qu.path, "qu")
    save_file(qu.tensors(), qu.path / "adapter.safetensors")
    (qu.path / "pytorch_adapter.bin").unlink()
    assert same(read(bert, qu.path, "qu"), wanted)


@pytest.mark.parametrize("root", [None, "qu"], ids=["at the top", "in a folder"])
def test_a_zip_is_read(bert: Base, qu: Folder, tmp_path: Path, root: str | None):
    path = tmp_path / "qu.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in qu.path.iterdir():
            archive.write(file, f"{root}/{file.name}" if root else file.name)
    assert same(read(bert, path, "qu"), read(bert, qu.path, "qu"))


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


def test_a_language_adapter_of_the_first_releases_is_read(bert: Base, qu: Folder):
    wanted = read(bert, qu.path, "qu")
    make_old(qu, "lang")
    imported = import_adapterhub(bert, qu.path, name="qu")
    assert same(imported.graft, wanted)
    assert imported.origin.version is None
    assert certify(bert, imported.graft, read_case(HUB / "bert", "qu")).largest_difference < 1e-5


@pytest.mark.parametrize("name", ["ner", "houlsby"])
def test_a_task_adapter_of_the_first_releases_has_no_invertible_part(bert: Base, tmp_path: Path, name: str):
    folder = Folder(tmp_path, f"adapters/{name}")
    wanted = read(bert, folder.path, name)
    make_old(folder, "task")
    imported = import_adapterhub(bert, folder.path, name=name)
    assert same(imported.graft, wanted)
    assert imported.origin.notes == (
        "Its configuration names an invertible part that adapters of tasks never had; there is none.",
    )
    assert certify(bert, imported.graft, read_case(HUB / "bert", name)).largest_difference < 1e-5


def test_gelu_meant_another_function_before_files_had_a_version(bert: Base, ner: Folder):
    document = ner.config()
    del document["version"]
    ner.write(document)
    (part,) = read(bert, ner.path, "ner").parts
    assert part == Bottleneck(reduction=8, activation="gelu_new", scaling=1.0)


def test_widths_that_differ_by_layer_become_bottlenecks_of_their_own(bert: Base, ner: Folder):
    qu = torch.load(HUB / "bert" / "adapters" / "qu" / "pytorch_adapter.bin", weights_only=True)
    wide = {name.replace(".qu.", ".ner."): tensor for name, tensor in qu.items() if "layer.1." in name}
    ner.save({name: tensor for name, tensor in ner.tensors().items() if "layer.1." not in name} | wide)
    ner.change(reduction_factor={"1": 2, "default": 8})
    graft = read(bert, ner.path, "ner")
    assert graft.parts == (
        Bottleneck(reduction=8, activation="gelu", scaling=1.0, skip_layers=(1,)),
        Bottleneck(reduction=2, activation="gelu", scaling=1.0, skip_layers=(0, 2)),
    )
    assert torch.equal(
        graft.tensors()["bottleneck_2.layers.1.ffn.up.bias"],
        wide["bert.encoder.layer.1.output.adapters.ner.adapter_up.bias"],
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"use_gating": True}, "has use_gating = true: no part has a gate. Expected false"),
        (
            {"ln_before": True},
            "has ln_before = true: no part has a LayerNorm of its own before the projection. Expected false",
        ),
        (
            {"ln_after": True},
            "has ln_after = true: no part has a LayerNorm of its own after the projection. Expected false",
        ),
        (
            {"cross_adapter": True},
            "has cross_adapter = true: the bases have no attention to another text. Expected false",
        ),
        (
            {"scaling": "channel"},
            'has scaling = "channel": no part has a factor for each column. Expected a number or "learned"',
        ),
        (
            {"original_ln_after": False},
            "has original_ln_after = false: every part leaves the base's own LayerNorm where it is. Expected true",
        ),
        (
            {"residual_before_ln": "post_add"},
            'has residual_before_ln = "post_add": every part\'s residual is taken before the LayerNorm. Expected true',
        ),
        (
            {"inv_adapter": "glow"},
            'has inv_adapter = "glow": that library cannot compute its own GLOW, so nothing says what an adapter with '
            'it does. Expected "nice"',
        ),
        (
            {"non_linearity": "mish"},
            'has non_linearity = "mish": no part has that activation. Expected one of relu, gelu, gelu_python, '
            "gelu_new, gelu_fast, gelu_pytorch_tanh, swish, silu, tanh, leakyrelu, leaky_relu, sigmoid, linear",
        ),
        (
            {"leave_out": [0, 1, 2]},
            "has leave_out = [0, 1, 2]: no layer is left. Expected at least one layer to be left",
        ),
        (
            {"leave_out": [0.5]},
            "has leave_out = [0.5]: that is no list of whole numbers. Expected a list of them",
        ),
        (
            {"reduction_factor": {"0": 8, "2": 8}},
            'has reduction_factor = {"0": 8, "2": 8}: layer 1 has none. Expected one for each layer, or a default',
        ),
        (
            {"reduction_factor": None},
            "has reduction_factor = null: that is no number that polygraft knows. Expected a number",
        ),
        (
            {"architecture": "reft"},
            'has architecture = "reft": that is ReFT (LoReFT, NoReFT, DiReFT), which changes single hidden states, and '
            "no part does. Expected null or one of lora, prefix_tuning, union",
        ),
        (
            {"architecture": "mtl_lora"},
            'has architecture = "mtl_lora": that is MTL-LoRA, which has matrices of its own for each task, and no part '
            "has. Expected null or one of lora, prefix_tuning, union",
        ),
        (
            {"architecture": "prompt_tuning"},
            'has architecture = "prompt_tuning": that library puts a prompt behind the embeddings, without positions, '
            "and there a classification reads its first place; the part 'prompt' stands before them, with positions, "
            "and is not read. Expected null or one of lora, prefix_tuning, union",
        ),
        (
            {"architecture": "new"},
            'has architecture = "new": no adapters of that architecture are brought over. Expected "lora" or '
            '"prefix_tuning" or "union"',
        ),
        (
            {"mh_adapter": "yes"},
            'has mh_adapter = "yes": that is no truth value. Expected true or false',
        ),
        (
            {"mh_adapter": True},
            "has mh_adapter = true, output_adapter = true, is_parallel = false, original_ln_before = true: no part "
            "stands there. Expected output_adapter alone with original_ln_before (Pfeiffer), mh_adapter and "
            "output_adapter without it (Houlsby), or output_adapter alone with is_parallel",
        ),
    ],
)
def test_what_no_part_does_is_refused_by_key_and_value(
    bert: Base, ner: Folder, changes: dict[str, Any], reason: str
):
    ner.change(**changes)
    with pytest.raises(DataError) as caught:
        read(bert, ner.path, "ner")
    assert str(caught.value) == (
        f"{ner.path}/adapter_config.json, config {reason}. What was trained with that cannot be brought over; nothing "
        "was written."
    )


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("lora", {"use_gating": True}, "has use_gating = true: no part has a gate. Expected false"),
        (
            "ia3",
            {"use_dora": True},
            "has use_dora = true: factors have no direction. Expected false",
        ),
        (
            "lora",
            {"vera_d": 0.1},
            "has vera_d = 0.1: that is VeRA, and no part has vectors between matrices that all layers share. Expected "
            "null",
        ),
        (
            "lora",
            {"composition_mode": "multiply"},
            'has composition_mode = "multiply": no part joins its tensors with the base\'s otherwise. Expected "add" '
            'or "scale"',
        ),
        ("lora", {"r": 0}, "has r = 0: a product has at least one row. Expected 1 or more"),
        ("lora", {"alpha": 0}, "has alpha = 0: that undoes the adapter. Expected a number above 0"),
        (
            "lora",
            {"attn_matrices": ["q", "o"]},
            'has attn_matrices = ["q", "o"]: \'o\' is none of the attention\'s maps. Expected some of q, k, v',
        ),
        (
            "lora",
            {"selfattn_lora": False},
            'has attn_matrices = ["q", "v"]: no linear map is left. Expected selfattn_lora with some of them, '
            "intermediate_lora or output_lora",
        ),
        (
            "lora",
            {"leave_out": [0, 1, 2]},
            "has leave_out = [0, 1, 2]: no layer is left. Expected at least one layer to be left",
        ),
        ("ia3", {"r": 2}, "has r = 2: factors have no rank. Expected 1"),
        ("prefix", {"use_gating": True}, "has use_gating = true: no part has a gate. Expected false"),
        (
            "prefix",
            {"encoder_prefix": False},
            "has encoder_prefix = false: the bases have no decoder that alone could get it. Expected true",
        ),
        ("prefix", {"prefix_length": 0}, "has prefix_length = 0: that is no prefix. Expected 1 or more"),
        ("prefix", {"bottleneck_size": 0}, "has bottleneck_size = 0: that is no network. Expected 1 or more"),
        (
            "prefix",
            {"leave_out": [2, 1, 0]},
            "has leave_out = [0, 1, 2]: no layer is left. Expected at least one layer to be left",
        ),
        ("compacter", {"scaling": 2.0}, "has scaling = 2.0: a Compacter has no factor. Expected 1.0 or 1"),
        ("compacter", {"phm_bias": False}, "has phm_bias = false: a Compacter has biases. Expected true"),
        (
            "compacter",
            {"shared_W_phm": True},
            "has shared_w_phm = true: each projection of a Compacter has matrices B of its own. Expected false",
        ),
        (
            "compacter",
            {"factorized_phm_rule": True},
            "has factorized_phm_rule = true: the matrices A of a Compacter are whole. Expected false",
        ),
        ("compacter", {"phm_dim": 0}, "has phm_dim = 0: that is no sum of products. Expected 1 or more"),
        (
            "compacter",
            {"mh_adapter": False, "is_parallel": True},
            "has is_parallel = true: no Compacter stands there. Expected false",
        ),
        (
            "compacter",
            {"reduction_factor": {"0": 2, "default": 4}},
            'has reduction_factor = {"0": 2, "default": 4}: a Compacter has one width in all layers. Expected a number',
        ),
    ],
)
def test_what_other_parts_do_not_do_is_refused_by_key_and_value(
    bert: Base, tmp_path: Path, name: str, changes: dict[str, Any], reason: str
):
    folder = Folder(tmp_path, f"adapters/{name}")
    folder.change(**changes)
    with pytest.raises(DataError) as caught:
        read(bert, folder.path, name)
    assert str(caught.value) == (
        f"{folder.path}/adapter_config.json, config {reason}. What was trained with that cannot be brought over; "
        "nothing was written."
    )


@pytest.mark.parametrize("name", ["lora", "prefix"])
def test_an_unknown_key_of_other_parts_is_refused(bert: Base, tmp_path: Path, name: str):
    folder = Folder(tmp_path, f"adapters/{name}")
    folder.change(more=3)
    with pytest.raises(DataError) as caught:
        read(bert, folder.path, name)
    assert str(caught.value).startswith(
        f"{folder.path}/adapter_config.json, config has more = 3, a key that polygraft does not know, so it "
        "cannot vouch for the numbers. Expected "
    )


def test_every_layer_has_to_have_the_same_prefix_network(bert: Base, tmp_path: Path):
    folder = Folder(tmp_path, "adapters/prefix")
    tensors = folder.tensors()
    short = "encoder.layer.1.attention.self.prefix_tuning.pool.prefix_tunings.prefix.self_prefix.wte.weight"
    tensors[f"bert.{short}"] = tensors[f"bert.{short}"] + 1
    folder.save(tensors)
    with pytest.raises(DataError) as caught:
        read(bert, folder.path, "prefix")
    assert str(caught.value) == (
        f"{folder.path} has the prefix's network once for each layer, and '{short}' differs from the others. Expected "
        "equal ones, since that library has one for all layers. Get the files again from where they were made."
    )


def test_the_factors_of_an_ia3_are_multiplied_by_its_alpha(bert: Base, tmp_path: Path):
    folder = Folder(tmp_path, "adapters/ia3")
    once = read(bert, folder.path, "ia3").tensors()
    folder.change(alpha=3)
    thrice = read(bert, folder.path, "ia3").tensors()
    assert all(torch.equal(thrice[name], 3 * once[name]) for name in once)


def test_an_unknown_key_is_refused_with_its_value(bert: Base, ner: Folder):
    ner.change(use_gatin=3)
    with pytest.raises(DataError) as caught:
        read(bert, ner.path, "ner")
    assert str(caught.value).startswith(
        f"{ner.path}/adapter_config.json, config has use_gatin = 3, a key that polygraft does not know, so it "
        "cannot vouch for the numbers. Expected "
    )
    assert str(caught.value).endswith(
        " Did you mean 'use_gating'? Take a newer polygraft, or write the folder again with its own library and "
        "without this option."
    )


def test_an_unknown_key_beside_the_configuration_is_refused(bert: Base, ner: Folder):
    ner.write({**ner.config(), "quantised": True})
    with pytest.raises(DataError) as caught:
        read(bert, ner.path, "ner")
    assert str(caught.value).startswith(
        f"{ner.path}/adapter_config.json has quantised = true, a key that polygraft does not know, so it "
        "cannot vouch for the numbers. Expected "
    )


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
    bert: Base, ner: Folder, missing: str | None, added: str | None, told: str
):
    tensors = {name: tensor for name, tensor in ner.tensors().items() if name != missing}
    ner.save(tensors | ({added: torch.ones(1)} if added else {}))
    with pytest.raises(DataError) as caught:
        read(bert, ner.path, "ner")
    assert str(caught.value) == (
        f"{ner.path} does not have the tensors that its configuration asks for: it {told}. Expected exactly 12, for a "
        "base of the same shape. Import it on the base that it was trained on, with files that belong together."
    )


def test_a_tensor_of_another_shape_is_refused(bert: Base, ner: Folder):
    ner.change(reduction_factor=4)
    with pytest.raises(GraftError) as caught:
        read(bert, ner.path, "ner")
    assert str(caught.value) == (
        "The tensor 'bottleneck.layers.0.ffn.down.bias' of the graft 'ner' has the shape [4] where [8] was expected. "
        f"The graft was made for a base of other sizes. It was to be made of {ner.path}."
    )


def test_an_adapter_of_another_kind_of_base_is_refused(bert: Base):
    folder = HUB / "xlm-roberta" / "adapters" / "ner"
    with pytest.raises(GraftError) as caught:
        read(bert, folder, "ner")
    assert str(caught.value) == (
        f"{folder}/adapter_config.json is of an adapter for a base of the type xlm-roberta, and 'bert' is of the type "
        "bert. Expected one type. Import it on the base that it was trained on."
    )


def test_a_folder_of_something_else_is_refused(bert: Base, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError) as caught:
        read(bert, tmp_path, "x")
    assert str(caught.value) == (
        f"{tmp_path} has no file adapter_config.json: there is notes.txt. Expected the folder that the other library "
        "wrote. Name that folder, or a zip of it."
    )


HEAD = "head_config.json"


@pytest.mark.parametrize(
    ("source", "changes", "reason"),
    [
        (
            "heads/ner",
            {"head_type": "question_answering"},
            'has head_type = "question_answering": no head does that. Expected one of tagging, classification, '
            "masked_lm",
        ),
        ("heads/ner", {"layers": 2}, "has layers = 2: a head for tokens has one layer. Expected 1"),
        (
            "heads/topic",
            {"use_pooler": True},
            "has use_pooler = true: a bare encoder has no pooler. Expected false",
        ),
        (
            "heads/topic",
            {"label2id": {"a": 0, "b": 2, "c": 3, "d": 4}},
            'has label2id = {"a": 0, "b": 2, "c": 3, "d": 4}: that does not number the labels. Expected each of 4 '
            "once, from 0 up",
        ),
        (
            "heads/qu",
            {"layer_norm": False},
            "has layer_norm = false: a masked-LM head has a LayerNorm. Expected true",
        ),
        (
            "heads/qu",
            {"activation_function": "relu"},
            'has activation_function = "relu": a masked-LM head has gelu. Expected "gelu"',
        ),
    ],
)
def test_a_head_that_no_part_is_is_refused(
    bert: Base, tmp_path: Path, source: str, changes: dict[str, Any], reason: str
):
    folder = Folder(tmp_path, source)
    folder.change(HEAD, **changes)
    with pytest.raises(DataError) as caught:
        read(bert, folder.path, "x")
    assert str(caught.value) == (
        f"{folder.path}/head_config.json, config {reason}. What was trained with that cannot be brought over; nothing "
        "was written."
    )


def test_a_masked_lm_head_with_a_decoder_of_its_own_is_refused(bert: Base, tmp_path: Path):
    folder = Folder(tmp_path, "heads/qu")
    tensors = folder.tensors("pytorch_model_head.bin")
    tensors["heads.qu.3.weight"] += 0.5
    folder.save(tensors, "pytorch_model_head.bin")
    with pytest.raises(DataError) as caught:
        read(bert, folder.path, "qu")
    assert str(caught.value) == (
        f"{folder.path} has a masked-LM head with a decoder of its own: it differs from the word embeddings of 'bert' "
        "by up to 0.5. Expected them again, since a head is stored without them. Import the adapter without its head, "
        "or on the base that it was trained on."
    )


def test_a_head_of_one_layer_for_sequences_is_the_same_function(bert: Base, tmp_path: Path):
    folder = Folder(tmp_path, "heads/topic")
    tensors = folder.tensors("pytorch_model_head.bin")
    weight, hidden = tensors["heads.topic.4.weight"], torch.randn(3, 32)
    folder.save({"heads.topic.1.weight": weight}, "pytorch_model_head.bin")
    folder.change(HEAD, layers=1, bias=False)
    head = read(bert, folder.path, "topic").find_head()
    assert head is not None
    assert torch.allclose(head(hidden), hidden @ weight.T, atol=1e-6)


def write_static(folder: Path, model_class: str, tensors: dict[str, torch.Tensor]) -> Path:
    document = {
        "config": None,
        "hidden_size": 32,
        "label2id": {"O": 0, "B": 1},
        "model_class": model_class,
        "model_name": "tiny-bert",
        "model_type": "bert",
        "name": None,
        "num_labels": 2,
        "version": "adapters.1.3.0",
    }
    (folder / HEAD).write_text(json.dumps(document))
    torch.save(tensors, folder / "pytorch_model_head.bin")
    return folder


def test_the_head_of_a_transformers_model_is_read(bert: Base, tmp_path: Path):
    weight = torch.randn(2, 32)
    tensors = {"classifier.weight": weight, "classifier.bias": torch.ones(2)}
    graft = read(bert, write_static(tmp_path, "BertForTokenClassification", tensors), "ner")
    assert graft.parts == (Head(objective="tokens", labels=("O", "B")),)
    assert torch.equal(graft.tensors()["head.out.weight"], weight)


def test_a_head_that_reads_a_pooler_is_refused(bert: Base, tmp_path: Path):
    tensors = {"classifier.weight": torch.randn(2, 32), "classifier.bias": torch.ones(2)}
    folder = write_static(tmp_path, "BertForSequenceClassification", tensors)
    with pytest.raises(DataError) as caught:
        read(bert, folder, "x")
    assert str(caught.value) == (
        f"{folder} has the head of BertForSequenceClassification, which reads the base's pooler. Expected a head that "
        "reads hidden states: a bare encoder has no pooler. Import the adapter without its head."
    )
