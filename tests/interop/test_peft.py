"""PEFT's folders as grafts and back: the numbers that its library gave, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.interop.golden import load_golden_base, read_case
from tests.interop.peft_folder import FOLDER, LABELS, Folder, same
from tests.tiny import make_trained_graft

from polygraft.base.base import Base
from polygraft.errors import DataError, GraftError
from polygraft.interop.certificate import certify
from polygraft.interop.peft import import_peft
from polygraft.interop.peft_export import export_peft
from polygraft.parts.bitfit import BitFit, BitFitLayers
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.ia3 import IA3
from polygraft.parts.lora import Lora
from polygraft.parts.part import Part

HEAD = Head(objective="tokens", labels=LABELS)


@pytest.fixture(scope="module", params=["bert", "xlm-roberta"])
def family(request: pytest.FixtureRequest) -> Path:
    return FOLDER / request.param


@pytest.fixture(scope="module")
def base(family: Path) -> Base:
    return load_golden_base(family)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("lora", Lora(rank=4, alpha=16)),
        (
            "lora-rs",
            Lora(rank=4, alpha=8, roles=("query", "key", "value", "output", "up", "down"), rslora=True),
        ),
        ("ia3", IA3(outputs=("key", "value", "up"), inputs=())),
        ("dora", Lora(rank=4, alpha=6, roles=("query", "value", "up"), dora=True)),
        # `output.dense` is the end of two names: that of the attention's last map, too.
        ("ia3-inputs", IA3(inputs=("output", "down"))),
    ],
)
def test_a_folder_gives_the_librarys_scores(base: Base, family: Path, name: str, part: Part):
    imported = import_peft(base, family / name, name=name, labels=LABELS)
    assert imported.graft.parts == (part, HEAD)
    assert (imported.origin.version, imported.origin.made_for, imported.origin.notes) == ("0.21.2", None, ())
    certificate = certify(base, imported.graft, read_case(family, name))
    assert certificate.compared == "scores of labels"
    assert certificate.largest_difference < 1e-5


GRAFTS: dict[str, list[Part]] = {
    "lora": [Lora(rank=2, alpha=3), HEAD],
    "dora": [Lora(rank=2, roles=("query", "down"), dora=True), HEAD],
    "groups": [
        Lora(rank=2, roles=("query",), skip_layers=(1,)),
        Lora(rank=3, alpha=5, roles=("query", "up"), skip_layers=(0, 2)),
        HEAD,
    ],
    "ia3": [IA3(), HEAD],
    "pooled": [Lora(rank=2), Head(objective="sequence", labels=LABELS)],
    "biases": [Lora(rank=2), BitFit(weights=("*.query.bias", "*.value.bias")), HEAD],
    "bare": [Lora(rank=2)],
}


@pytest.mark.parametrize("name", GRAFTS)
def test_there_and_back_a_graft_is_the_same(peft_bert: Base, tmp_path: Path, name: str):
    graft = make_trained_graft(peft_bert, name, GRAFTS[name])
    written = export_peft(peft_bert, graft, tmp_path / "out")
    assert [path.name for path in written] == ["adapter_config.json", "adapter_model.safetensors"]
    labels = None if name == "bare" else LABELS
    back = import_peft(peft_bert, tmp_path / "out", name=name, labels=labels).graft
    if name == "biases":
        # Names come back in the place of patterns.
        names = graft.list_layers(BitFitLayers)[0].names
        graft.parts = (graft.parts[0], BitFit(weights=tuple(names)), HEAD)
    assert same(back, graft)


@pytest.mark.parametrize("name", ["lora", "lora-rs", "ia3", "dora", "ia3-inputs"])
def test_back_and_there_the_librarys_own_tensors_are_the_same(
    base: Base, family: Path, tmp_path: Path, name: str
):
    export_peft(base, import_peft(base, family / name, name=name).graft, tmp_path)
    old, new = (load_file(folder / "adapter_model.safetensors") for folder in (family / name, tmp_path))
    assert old.keys() == new.keys()
    # The lengths of DoRA's rows are kept as what they differ by from those of the base, and rounded twice.
    near = 1e-6 if name == "dora" else 0.0
    assert all(torch.allclose(old[key], new[key], rtol=near, atol=near) for key in old)


def test_an_older_bin_is_read(peft_bert: Base, lora: Folder):
    wanted = import_peft(peft_bert, lora.path, name="x").graft
    torch.save(lora.tensors(), lora.path / "adapter_model.bin")
    (lora.path / "adapter_model.safetensors").unlink()
    assert same(import_peft(peft_bert, lora.path, name="x").graft, wanted)


@pytest.mark.parametrize("kind", ["all", "lora_only"])
def test_trained_biases_become_differences(peft_bert: Base, lora: Folder, kind: str):
    own = {name: value for name, value in peft_bert.model.named_parameters() if name.endswith(".bias")}
    targets = [name for name in own if name.endswith(("query.bias", "value.bias"))]
    trained = {name: own[name] + 0.5 for name in (own if kind == "all" else targets)}
    wrapped = {
        name.replace(".bias", ".base_layer.bias") if name in targets else name: value
        for name, value in trained.items()
    }
    copies = {"classifier.original_module.bias": torch.zeros(5)} if kind == "all" else {}
    lora.save(
        {
            **lora.tensors(),
            **{f"base_model.model.bert.{name}": value for name, value in wrapped.items()},
            **{f"base_model.model.{name}": value for name, value in copies.items()},
        }
    )
    lora.change(bias=kind)
    graft = import_peft(peft_bert, lora.path, name="x").graft
    (part,) = (part for part in graft.parts if isinstance(part, BitFit))
    assert part.weights == tuple(trained)
    assert torch.allclose(graft.tensors()["bitfit.values"], torch.tensor(0.5))


ONE = "encoder.layer.1.attention.self.query.lora_B.weight"


def test_a_missing_tensor_is_named(peft_bert: Base, lora: Folder):
    lora.save({name: tensor for name, tensor in lora.tensors().items() if not name.endswith(ONE)})
    with pytest.raises(DataError) as caught:
        import_peft(peft_bert, lora.path, name="x")
    assert str(caught.value) == (
        f"{lora.path} does not have the tensors that its configuration asks for: it lacks 1 of them (such as '{ONE}'). "
        "Expected exactly 12, for a base of the same shape. Import it on the base that it was trained on, with files "
        "that belong together."
    )


def test_targets_that_the_file_has_not_are_named(peft_bert: Base, lora: Folder):
    lora.change(target_modules=["query", "key", "value"])
    with pytest.raises(DataError) as caught:
        import_peft(peft_bert, lora.path, name="x")
    assert "it lacks 6 of them (such as 'encoder.layer.0.attention.self.key.lora_A.weight')" in str(
        caught.value
    )


def test_another_rank_than_the_configurations_is_refused(peft_bert: Base, lora: Folder):
    lora.change(r=8)
    with pytest.raises(GraftError) as caught:
        import_peft(peft_bert, lora.path, name="x")
    assert str(caught.value).startswith(
        "The tensor 'lora.layers.0.query.A' of the graft 'x' has the shape [4, 32] where [8, 32] was expected."
    )


def test_a_tensor_beside_the_encoder_has_to_be_named(peft_bert: Base, lora: Folder):
    lora.change(modules_to_save=None)
    with pytest.raises(DataError) as caught:
        import_peft(peft_bert, lora.path, name="x")
    assert str(caught.value) == (
        f"{lora.path} has a tensor 'classifier.bias' that its configuration does not name. Expected tensors of the "
        "encoder under 'base_model.model.bert.', and those of modules_to_save: none. Import it on the base that it was "
        "trained on."
    )


def test_a_head_that_reads_a_pooler_is_not_taken_for_one_of_tokens(peft_bert: Base, lora: Folder):
    lora.change(task_type="SEQ_CLS")
    with pytest.raises(DataError) as caught:
        import_peft(peft_bert, lora.path, name="x")
    assert str(caught.value) == (
        f"{lora.path} was trained as SEQ_CLS and has a head for 'tokens', classifier.bias, classifier.weight. Expected "
        "one for 'sequence' that is whole: a layer in front of it, or the pooler, was not saved with it. Import it "
        "from a folder with all layers of its head."
    )


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            [Bottleneck(reduction=4)],
            "The graft 'x' has the parts bottleneck, which are not written for PEFT. Expected parts 'lora', "
            "with 'bitfit' or without, or parts 'ia3', or a 'prompt', or a 'prefix', and a head for labels or none. "
            "Export another graft.",
        ),
        (
            [Lora(rank=2), IA3()],
            "The graft 'x' has the parts lora, ia3, which are not written for PEFT. Expected parts 'lora', "
            "with 'bitfit' or without, or parts 'ia3', or a 'prompt', or a 'prefix', and a head for labels or none. "
            "Export another graft.",
        ),
        (
            [Lora(rank=2), Head(objective="causal")],
            "The graft 'x' has the parts lora, head for causal-LM, which are not written for PEFT. Expected parts "
            "'lora', with 'bitfit' or without, or parts 'ia3', or a 'prompt', or a 'prefix', and a head for labels or "
            "none. Export another graft.",
        ),
        (
            [Lora(rank=2), BitFit(weights=("*.query.bias",))],
            "The graft 'x' has differences to 3 weights, such as 'encoder.layer.0.attention.self.query.bias'. Expected "
            "those to all biases of the base, or to those of all layers that its LoRA stands beside, which are what "
            "PEFT trains with it. Export another graft.",
        ),
        (
            [Lora(rank=2), Lora(rank=2, roles=("up",), dora=True)],
            "The graft 'x' has LoRA parts that differ in rslora or dora. Expected these alike in all, as PEFT has "
            "them. Export another graft.",
        ),
        (
            [Lora(rank=2), Lora(rank=3)],
            "The graft 'x' has two parts beside 'encoder.layer.0.attention.self.query'. Expected one beside each map, "
            "as PEFT has. Export another graft.",
        ),
    ],
)
def test_what_the_library_would_misread_is_not_exported(
    peft_bert: Base, tmp_path: Path, parts: list[Part], message: str
):
    graft = make_trained_graft(peft_bert, "x", parts)
    with pytest.raises(GraftError) as caught:
        export_peft(peft_bert, graft, tmp_path / "out")
    assert str(caught.value) == message
    assert not (tmp_path / "out").exists()
