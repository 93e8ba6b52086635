"""Prompts and prefixes of PEFT as grafts and back: the numbers that its library gave, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.interop.golden import FORMATS, load_golden_base
from tests.interop.peft_folder import FOLDER, Folder
from tests.tiny import make_base, make_tokenizer, make_trained_graft

from polygraft.base.base import Base
from polygraft.base.load import freeze_base
from polygraft.errors import DataError, GraftError
from polygraft.interop.certificate import certify, read_expected
from polygraft.interop.peft import import_peft
from polygraft.interop.peft_export import export_peft
from polygraft.parts.head import Head
from polygraft.parts.part import Part
from polygraft.parts.prefix import Prefix
from polygraft.parts.prompt import Prompt


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


@pytest.fixture
def prefix(tmp_path: Path) -> Folder:
    return Folder(tmp_path, "prefix")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"num_transformer_submodules": 2},
            "has num_transformer_submodules = 2: the bases have no second stack of layers. Expected 1",
        ),
        ({"token_dim": 16}, "has token_dim = 16: that is not the size of the base's embeddings. Expected 32"),
        ({"num_virtual_tokens": 0}, "has num_virtual_tokens = 0: that is no prompt. Expected 1 or more"),
    ],
)
def test_what_no_prompt_does_is_refused_by_key_and_value(
    peft_bert: Base, prompt: Folder, changes: dict[str, Any], reason: str
):
    prompt.change(**changes)
    with pytest.raises(DataError) as caught:
        import_peft(peft_bert, prompt.path, name="x")
    assert str(caught.value) == (
        f"{prompt.path}/adapter_config.json {reason}. What was trained with that cannot be brought over; nothing was "
        "written."
    )


def test_a_prompt_of_another_length_is_refused(peft_bert: Base, prompt: Folder):
    prompt.change(num_virtual_tokens=5)
    with pytest.raises(GraftError) as caught:
        import_peft(peft_bert, prompt.path, name="x")
    assert str(caught.value) == (
        "The tensor 'prompt.values' of the graft 'x' has the shape [4, 32] where [5, 32] was expected. The graft was "
        "made for a base of other sizes."
    )


def test_labels_for_a_prompt_without_a_head_are_refused(peft_bert: Base, prompt: Folder):
    with pytest.raises(DataError) as caught:
        import_peft(peft_bert, prompt.path, name="x", labels=["a", "b"])
    assert str(caught.value) == (
        f"{prompt.path} has no head, and the 2 labels a, b were given. Expected labels for a folder with a head only. "
        "Leave the labels out."
    )


@pytest.mark.parametrize("name", ["bert", "xlm-roberta"])
def test_a_prefix_gives_the_librarys_hidden_states(name: str):
    base = load_prompt_base(name)
    imported = import_peft(base, FOLDER / name / "prefix", name="prefix")
    assert imported.graft.parts == (Prefix(length=3, reparameterization=None, moves_positions=True),)
    expected = read_expected(
        FORMATS / "adapterhub" / name / "inputs.safetensors", FOLDER / name / "expected-prefix.safetensors"
    )
    assert certify(base, imported.graft, expected).largest_difference < 1e-5


@pytest.mark.parametrize("case", ["prompt", "prefix"])
@pytest.mark.parametrize("name", ["bert", "xlm-roberta"])
def test_back_and_there_the_librarys_own_values_are_the_same(tmp_path: Path, name: str, case: str):
    base = load_prompt_base(name)
    export_peft(base, import_peft(base, FOLDER / name / case, name=case).graft, tmp_path)
    old, new = (
        load_file(folder / "adapter_model.safetensors") for folder in (FOLDER / name / case, tmp_path)
    )
    assert old.keys() == new.keys() == {"prompt_embeddings"}
    assert torch.equal(old["prompt_embeddings"], new["prompt_embeddings"])
    old, new = (
        json.loads((folder / "adapter_config.json").read_text())
        for folder in (FOLDER / name / case, tmp_path)
    )
    about = {"base_model_name_or_path", "tokenizer_name_or_path"}
    assert {key: old[key] for key in new if key not in about} == {
        key: new[key] for key in new if key not in about
    }


@pytest.mark.parametrize("case", ["prompt", "prefix"])
def test_a_head_beside_it_goes_there_and_back(peft_bert: Base, tmp_path: Path, case: str):
    parts: dict[str, Part] = {
        "prompt": Prompt(length=4),
        "prefix": Prefix(length=4, reparameterization=None, moves_positions=True),
    }
    head = Head(objective="tokens", labels=("a", "b", "c"))
    graft = make_trained_graft(peft_bert, "x", [parts[case], head])
    export_peft(peft_bert, graft, tmp_path / "out")
    back = import_peft(peft_bert, tmp_path / "out", name="x", labels=["a", "b", "c"]).graft
    assert back.parts == graft.parts
    assert all(torch.equal(back.tensors()[name], tensor) for name, tensor in graft.tensors().items())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_layers": 4}, "has num_layers = 4: a prefix stands in every layer of the base. Expected 3"),
        (
            {"token_dim": 16},
            "has token_dim = 16: that is not the size of the base's keys and values. Expected 32",
        ),
        ({"num_virtual_tokens": 0}, "has num_virtual_tokens = 0: that is no prefix. Expected 1 or more"),
    ],
)
def test_what_no_prefix_does_is_refused_by_key_and_value(
    peft_bert: Base, prefix: Folder, changes: dict[str, Any], reason: str
):
    prefix.change(**changes)
    with pytest.raises(DataError) as caught:
        import_peft(peft_bert, prefix.path, name="x")
    assert str(caught.value) == (
        f"{prefix.path}/adapter_config.json {reason}. What was trained with that cannot be brought over; nothing was "
        "written."
    )


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        (
            "distilbert",
            "the models of the family 'distilbert' take no keys and values of what came before, so that PEFT can give "
            "them none",
        ),
        (
            "mistral",
            "in layers of this base a token sees so many places back only, and there a prefix of PEFT leaves the "
            "window of the later ones, while here all of them see it",
        ),
        (
            "gemma3",
            "in layers of this base a token sees so many places back only, and there a prefix of PEFT leaves the "
            "window of the later ones, while here all of them see it",
        ),
    ],
)
def test_a_base_whose_prefixes_would_do_something_else_is_refused(
    prefix: Folder, tmp_path: Path, family: str, reason: str
):
    base = make_base(family)
    with pytest.raises(DataError) as caught:
        import_peft(base, prefix.path, name="x")
    assert str(caught.value) == (
        f'{prefix.path}/adapter_config.json has peft_type = "PREFIX_TUNING": {reason}. Expected LORA, IA3 or '
        "PROMPT_TUNING for this base. What was trained with that cannot be brought over; nothing was written."
    )
    graft = make_trained_graft(base, "x", [Prefix(length=2, reparameterization=None, moves_positions=True)])
    with pytest.raises(GraftError) as refusal:
        export_peft(base, graft, tmp_path / "out")
    assert str(refusal.value) == (
        f"The graft 'x' has a prefix, and {reason}. Expected a base whose prefixes are the same in PEFT. Export "
        "another graft."
    )


def test_a_prompt_without_its_values_is_refused(peft_bert: Base, prompt: Folder):
    prompt.save({"prompt_embedding": prompt.tensors()["prompt_embeddings"]})
    with pytest.raises(DataError) as caught:
        import_peft(peft_bert, prompt.path, name="x")
    assert str(caught.value) == (
        f"{prompt.path} has no tensor 'prompt_embeddings'. Expected the values of a prompt or prefix under that name. "
        "Get the folder again from where it was made."
    )


def test_a_tensor_beside_a_prompt_has_to_be_named(peft_bert: Base, prompt: Folder):
    prompt.save({**prompt.tensors(), "base_model.classifier.bias": torch.zeros(5)})
    with pytest.raises(DataError) as caught:
        import_peft(peft_bert, prompt.path, name="x")
    assert str(caught.value) == (
        f"{prompt.path} has a tensor 'classifier.bias' that its configuration does not name. Expected "
        "'prompt_embeddings', and those of modules_to_save: none. Import it on the base that it was trained on."
    )


def test_a_head_that_reads_the_first_place_behind_a_prompt_is_refused(tmp_path: Path):
    folder = Folder(tmp_path, "prompt")
    base = load_prompt_base("xlm-roberta")
    head = {"dense.weight": (32, 32), "dense.bias": (32,), "out_proj.weight": (2, 32), "out_proj.bias": (2,)}
    tensors = {f"base_model.classifier.{name}": torch.zeros(shape) for name, shape in head.items()}
    folder.save({**folder.tensors(), **tensors})
    folder.change(modules_to_save=["classifier"], task_type="SEQ_CLS")
    with pytest.raises(DataError) as caught:
        import_peft(base, folder.path, name="x")
    assert str(caught.value) == (
        f"{folder.path} has a prompt and a head for sequences, which reads the first place of a row: there it is the "
        "prompt's, and here a prompt's places are no part of what a head reads. Expected a head for tokens. Import it "
        "from a folder without a head, and train one."
    )


MOVING = Prefix(length=2, reparameterization=None, moves_positions=True)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            [Prompt(length=2), Head(objective="sequence", labels=("a", "b"))],
            "The graft 'x' has a prompt and a head for sequences, which reads the first piece of a row, and with PEFT "
            "the first place of the prompt. Expected a head for tokens, or none. Export another graft.",
        ),
        (
            [Prompt(length=2), Prompt(length=3)],
            "The graft 'x' has 2 prompts. Expected one, as PEFT has. Export another graft.",
        ),
        ([MOVING, MOVING], "The graft 'x' has 2 prefixes. Expected one, as PEFT has. Export another graft."),
        (
            [Prefix(length=2, reparameterization=None)],
            "The graft 'x' has a prefix with moves_positions=False and skip_layers=[]. Expected True and none: with "
            "PEFT the tokens' positions begin behind a prefix, and it stands in every layer. Train one with these "
            "options.",
        ),
        (
            [Prefix(length=2, reparameterization=3, moves_positions=True, skip_layers=(1,))],
            "The graft 'x' has a prefix with moves_positions=True and skip_layers=[1]. Expected True and none: with "
            "PEFT the tokens' positions begin behind a prefix, and it stands in every layer. Train one with these "
            "options.",
        ),
    ],
)
def test_what_peft_would_compute_otherwise_is_not_exported(
    peft_bert: Base, tmp_path: Path, parts: list[Part], message: str
):
    graft = make_trained_graft(peft_bert, "x", parts)
    with pytest.raises(GraftError) as caught:
        export_peft(peft_bert, graft, tmp_path / "out")
    assert str(caught.value) == message
    assert not (tmp_path / "out").exists()
