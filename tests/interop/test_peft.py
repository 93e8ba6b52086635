"""PEFT's folders as grafts and back: the numbers that its library gave, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.interop.golden import FORMATS, load_golden_base, read_case
from tests.tiny import make_tokenizer, make_trained_graft

from polygraft.attach.graft import Graft
from polygraft.base.base import Base
from polygraft.base.load import freeze_base
from polygraft.errors import DataError, GraftError
from polygraft.interop.certificate import certify, read_expected
from polygraft.interop.peft import import_peft
from polygraft.interop.peft_export import export_peft
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.ia3 import IA3
from polygraft.parts.lora import Lora
from polygraft.parts.part import Part
from polygraft.parts.prompt import Prompt

FOLDER = FORMATS / "peft"
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
HEAD = Head(objective="tokens", labels=LABELS)


@pytest.fixture(scope="module", params=["bert", "xlm-roberta"])
def family(request: pytest.FixtureRequest) -> Path:
    return FOLDER / request.param


@pytest.fixture(scope="module")
def base(family: Path) -> Base:
    return load_golden_base(family)


@pytest.fixture(scope="module")
def bert() -> Base:
    return load_golden_base(FOLDER / "bert")


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


def same(a: Graft, b: Graft) -> bool:
    first, second = a.tensors(), b.tensors()
    return (
        a.parts == b.parts
        and first.keys() == second.keys()
        and all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)
    )


GRAFTS: dict[str, list[Part]] = {
    "lora": [Lora(rank=2, alpha=3), HEAD],
    "dora": [Lora(rank=2, roles=("query", "down"), dora=True), HEAD],
    "groups": [
        Lora(rank=2, roles=("query",), skip_layers=(1,)),
        Lora(rank=3, alpha=5, roles=("query", "up"), skip_layers=(0, 2)),
        HEAD,
    ],
    "ia3": [IA3(), HEAD],
    "bare": [Lora(rank=2)],
}


@pytest.mark.parametrize("name", GRAFTS)
def test_there_and_back_a_graft_is_the_same(bert: Base, tmp_path: Path, name: str):
    graft = make_trained_graft(bert, name, GRAFTS[name])
    written = export_peft(bert, graft, tmp_path / "out")
    assert [path.name for path in written] == ["adapter_config.json", "adapter_model.safetensors"]
    labels = LABELS if HEAD in GRAFTS[name] else None
    assert same(import_peft(bert, tmp_path / "out", name=name, labels=labels).graft, graft)


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


class Folder:
    """A copy of the golden LoRA that a test may change."""

    def __init__(self, folder: Path, source: str = "lora") -> None:
        self.path = folder / "changed"
        shutil.copytree(FOLDER / "bert" / source, self.path)

    def change(self, **changes: Any) -> None:
        file = self.path / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    def tensors(self) -> dict[str, torch.Tensor]:
        return load_file(self.path / "adapter_model.safetensors")

    def save(self, tensors: dict[str, torch.Tensor]) -> None:
        save_file(tensors, self.path / "adapter_model.safetensors")


@pytest.fixture
def lora(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_an_older_bin_is_read(bert: Base, lora: Folder):
    wanted = import_peft(bert, lora.path, name="x").graft
    torch.save(lora.tensors(), lora.path / "adapter_model.bin")
    (lora.path / "adapter_model.safetensors").unlink()
    assert same(import_peft(bert, lora.path, name="x").graft, wanted)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"bias": "all"},
            'has bias = "all": the base\'s biases are trained with it, which is another part. Expected "none"',
        ),
        (
            {"init_lora_weights": "pissa"},
            'has init_lora_weights = "pissa": its start changes the base\'s own weights. Expected true or false or '
            '"gaussian" or "orthogonal" or "eva"',
        ),
        (
            {"loftq_config": {"loftq_bits": 4}},
            'has loftq_config = {"loftq_bits": 4}: its start changes the base\'s own weights. Expected {}',
        ),
        (
            {"layer_replication": [[0, 2]]},
            "has layer_replication = [[0, 2]]: the bases keep their layers. Expected []",
        ),
        (
            {"lora_bias": True},
            "has lora_bias = true: no part has a bias in its second matrix. Expected false",
        ),
        (
            {"use_qalora": True},
            "has use_qalora = true: no part sums its input by groups. Expected false",
        ),
        ({"r": "4"}, 'has r = "4": that is no whole number. Expected a whole number of 0 or more'),
        (
            {"exclude_modules": ".*key"},
            'has exclude_modules = ".*key": that is a pattern. Expected a list of names, or null',
        ),
        (
            {"rank_pattern": {".*(query)": 2}},
            ", rank_pattern has .*(query) = 2: that is a pattern. Expected names of layers, or ends of names",
        ),
        (
            {"peft_type": "LOHA"},
            'has peft_type = "LOHA", which polygraft cannot import. Expected one of LORA, IA3, PROMPT_TUNING',
        ),
    ],
)
def test_what_no_part_does_is_refused_by_key_and_value(
    bert: Base, lora: Folder, changes: dict[str, Any], reason: str
):
    lora.change(**changes)
    with pytest.raises(DataError) as caught:
        import_peft(bert, lora.path, name="x")
    gap = "" if reason.startswith(",") else " "
    assert str(caught.value) == (
        f"{lora.path}/adapter_config.json{gap}{reason}. What was trained with that cannot be brought over; nothing was "
        "written."
    )


def test_an_unknown_key_is_refused(bert: Base, lora: Folder):
    lora.change(use_dorra=True)
    with pytest.raises(DataError) as caught:
        import_peft(bert, lora.path, name="x")
    assert str(caught.value).startswith(
        f"{lora.path}/adapter_config.json has use_dorra = true, a key that polygraft does not know. Expected "
    )
    assert " Did you mean 'use_dora'? " in str(caught.value)


ONE = "encoder.layer.1.attention.self.query.lora_B.weight"


def test_a_missing_tensor_is_named(bert: Base, lora: Folder):
    lora.save({name: tensor for name, tensor in lora.tensors().items() if not name.endswith(ONE)})
    with pytest.raises(DataError) as caught:
        import_peft(bert, lora.path, name="x")
    assert str(caught.value) == (
        f"{lora.path} does not have the tensors that its configuration asks for: it lacks 1 of them (such as '{ONE}'). "
        "Expected exactly 12, for a base of the same shape. Import it on the base that it was trained on, with files "
        "that belong together."
    )


def test_targets_that_the_file_has_not_are_named(bert: Base, lora: Folder):
    lora.change(target_modules=["query", "key", "value"])
    with pytest.raises(DataError) as caught:
        import_peft(bert, lora.path, name="x")
    assert "it lacks 6 of them (such as 'encoder.layer.0.attention.self.key.lora_A.weight')" in str(
        caught.value
    )


def test_targets_that_the_base_has_not_are_refused(bert: Base, lora: Folder):
    lora.change(target_modules=["q_proj"])
    with pytest.raises(DataError) as caught:
        import_peft(bert, lora.path, name="x")
    assert str(caught.value) == (
        f"{lora.path}/adapter_config.json is about no linear map of the base's layers: its targets are q_proj. "
        "Expected some of attention.self.query, attention.self.key, attention.self.value, attention.output.dense, "
        "intermediate.dense, output.dense. Import it on the base that it was trained on."
    )


def test_another_rank_than_the_configurations_is_refused(bert: Base, lora: Folder):
    lora.change(r=8)
    with pytest.raises(GraftError) as caught:
        import_peft(bert, lora.path, name="x")
    assert str(caught.value).startswith(
        "The tensor 'lora.layers.0.query.A' of the graft 'x' has the shape [4, 32] where [8, 32] was expected."
    )


def test_a_tensor_beside_the_encoder_has_to_be_named(bert: Base, lora: Folder):
    lora.change(modules_to_save=None)
    with pytest.raises(DataError) as caught:
        import_peft(bert, lora.path, name="x")
    assert str(caught.value) == (
        f"{lora.path} has a tensor 'classifier.bias' that its configuration does not name. Expected tensors of the "
        "encoder under 'base_model.model.bert.', and those of modules_to_save: none. Import it on the base that it was "
        "trained on."
    )


def test_a_head_that_reads_a_pooler_is_not_taken_for_one_of_tokens(bert: Base, lora: Folder):
    lora.change(task_type="SEQ_CLS")
    with pytest.raises(DataError) as caught:
        import_peft(bert, lora.path, name="x")
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
            "The graft 'x' has the parts bottleneck, which are not written for PEFT. Expected parts 'lora' or parts "
            "'ia3', with a head for labels or without. Export another graft.",
        ),
        (
            [Lora(rank=2), IA3()],
            "The graft 'x' has the parts lora, ia3, which are not written for PEFT. Expected parts 'lora' or parts "
            "'ia3', with a head for labels or without. Export another graft.",
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
    bert: Base, tmp_path: Path, parts: list[Part], message: str
):
    graft = make_trained_graft(bert, "x", parts)
    with pytest.raises(GraftError) as caught:
        export_peft(bert, graft, tmp_path / "out")
    assert str(caught.value) == message
    assert not (tmp_path / "out").exists()


def load_prompt_base(name: str) -> Base:
    """The tiny base that PEFT had, whose BERT pads with the piece 0."""
    base = load_golden_base(FORMATS / "adapterhub" / name)
    if name == "bert":
        tokenizer = make_tokenizer()
        tokenizer.pad_token = "<s>"
        return freeze_base(name=name, model=base.model, tokenizer=tokenizer)
    return base


@pytest.mark.parametrize("name", ["bert", "xlm-roberta"])
def test_a_prompt_gives_the_librarys_hidden_states(name: str):
    base = load_prompt_base(name)
    imported = import_peft(base, FOLDER / name / "prompt", name="prompt")
    assert imported.graft.parts == (Prompt(length=4),)
    origin = imported.origin
    assert (origin.version, origin.made_for, origin.num_tensors, origin.notes) == (
        "0.21.2",
        f"tiny-{name}",
        1,
        (),
    )
    expected = read_expected(
        FORMATS / "adapterhub" / name / "inputs.safetensors", FOLDER / name / "expected-prompt.safetensors"
    )
    certificate = certify(base, imported.graft, expected)
    assert certificate.compared == "hidden states"
    assert certificate.largest_difference < 1e-5


@pytest.fixture
def prompt(tmp_path: Path) -> Folder:
    return Folder(tmp_path, "prompt")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"num_transformer_submodules": 2},
            "has num_transformer_submodules = 2: the bases have no second stack of layers. Expected 1",
        ),
        (
            {"modules_to_save": ["classifier"]},
            'has modules_to_save = ["classifier"]: no head beside a prompt is brought over. Expected []',
        ),
        ({"token_dim": 16}, "has token_dim = 16: that is not the size of the base's embeddings. Expected 32"),
        ({"num_virtual_tokens": 0}, "has num_virtual_tokens = 0: that is no prompt. Expected 1 or more"),
    ],
)
def test_what_no_prompt_does_is_refused_by_key_and_value(
    bert: Base, prompt: Folder, changes: dict[str, Any], reason: str
):
    prompt.change(**changes)
    with pytest.raises(DataError) as caught:
        import_peft(bert, prompt.path, name="x")
    assert str(caught.value) == (
        f"{prompt.path}/adapter_config.json {reason}. What was trained with that cannot be brought over; nothing was "
        "written."
    )


def test_a_prompt_of_another_length_is_refused(bert: Base, prompt: Folder):
    prompt.change(num_virtual_tokens=5)
    with pytest.raises(GraftError) as caught:
        import_peft(bert, prompt.path, name="x")
    assert str(caught.value) == (
        "The tensor 'prompt.values' of the graft 'x' has the shape [4, 32] where [5, 32] was expected. The graft was "
        "made for a base of other sizes."
    )


def test_labels_for_a_prompt_are_refused(bert: Base, prompt: Folder):
    with pytest.raises(DataError) as caught:
        import_peft(bert, prompt.path, name="x", labels=["a", "b"])
    assert str(caught.value) == (
        f"{prompt.path} holds a prompt and no head, and 2 labels were named. Expected none. Leave --labels out."
    )


def test_a_prefix_of_peft_is_refused_since_it_would_do_something_else(bert: Base):
    with pytest.raises(DataError) as caught:
        import_peft(bert, FOLDER / "bert" / "prefix", name="x")
    assert str(caught.value) == (
        f'{FOLDER}/bert/prefix/adapter_config.json has peft_type = "PREFIX_TUNING": PEFT hands a prefix over as pieces '
        "that came before, so that a text's positions begin behind it, and here a prefix has no positions: the same "
        "values would do something else. Expected LORA, IA3 or PROMPT_TUNING. What was trained with that cannot be "
        "brought over; nothing was written."
    )
