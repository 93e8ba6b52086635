"""Folders that cannot be loaded, each with its whole sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.base.conftest import WriteFolder
from tests.tiny import make_model

from polygraft.base.load import load_base
from polygraft.base.pretrained import EXPECTED, load_pretrained
from polygraft.base.sites import FAMILY_OF
from polygraft.errors import BaseModelError

BIAS = "encoder.layer.1.output.dense.bias"


def refuse(source: Path | str) -> str:
    with pytest.raises(BaseModelError) as refusal:
        load_pretrained(str(source))
    return str(refusal.value)


def change_weights(folder: Path, **changes: torch.Tensor | None) -> None:
    path = folder / "model.safetensors"
    tensors = {name: tensor for name, tensor in {**load_file(path), **changes}.items() if tensor is not None}
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/base", "~/nowhere/at/all"])
def test_a_folder_that_is_not_there_is_refused(name: str):
    assert refuse(name) == f"There is no folder '{name}'. {EXPECTED} Check the path."


def test_a_name_that_the_hub_cannot_have_is_refused():
    assert refuse("a/b/c") == (
        "The base 'a/b/c' cannot be loaded: Repo id must be in the form 'repo_name' or "
        "'namespace/repo_name': 'a/b/c'. "
        f"Use `repo_type` argument if needed. {EXPECTED} Check the name, or the network."
    )


def test_pickled_weights_are_refused(write_folder: WriteFolder):
    folder = write_folder()
    (folder / "model.safetensors").unlink()
    torch.save(make_model("bert").state_dict(), folder / "pytorch_model.bin")
    assert refuse(folder) == (
        f"The base '{folder}' cannot be loaded: Error no file named model.safetensors found in directory "
        f"{folder}. "
        f"{EXPECTED} Check the name, or the network."
    )


@pytest.mark.parametrize("name", ["bert", "xlm-roberta", "deberta-v2"])
def test_a_folder_without_a_tokenizer_is_refused(write_folder: WriteFolder, name: str):
    folder = write_folder(name)
    (folder / "tokenizer.json").unlink()
    assert refuse(folder) == (
        f"The base '{folder}' has no tokenizer.json. Expected one beside config.json. Save one with "
        "`tokenizer.save_pretrained` from a fast tokenizer."
    )


def test_a_tokenizer_with_more_pieces_than_embeddings_is_refused(write_folder: WriteFolder):
    folder = write_folder()
    definition = json.loads((folder / "tokenizer.json").read_text())
    definition["model"]["vocab"]["qallqo"] = 57
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    assert refuse(folder) == (
        f"The base '{folder}' has embeddings for 57 pieces, and its tokenizer has 58. Expected no piece "
        "without an "
        "embedding. Take the tokenizer that the base was trained with."
    )


def test_a_family_outside_the_table_is_refused(write_folder: WriteFolder):
    folder = write_folder(config={"model_type": "t5"})
    assert refuse(folder) == (
        "A base of the type 't5' is not supported: polygraft does not know where its layers are. Supported "
        "types are "
        f"{', '.join(sorted(FAMILY_OF))}. To add one, see CONTRIBUTING.md, 'Add a base family'."
    )


def test_code_that_a_folder_brings_is_never_run(write_folder: WriteFolder):
    folder = write_folder()
    config = json.loads((folder / "config.json").read_text())
    places = {"AutoConfig": "code.C", "AutoModel": "code.M", "AutoModelForMaskedLM": "code.M"}
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": places}))
    (folder / "code.py").write_text("raise SystemExit('the code ran')")
    assert type(load_pretrained(str(folder)).model).__name__ == "BertModel"


def test_a_folder_that_cannot_do_without_its_code_is_refused(write_folder: WriteFolder):
    folder = write_folder(config={"model_type": "own", "auto_map": {"AutoConfig": "code.C"}})
    (folder / "code.py").write_text("raise SystemExit('the code ran')")
    message = refuse(folder)
    assert message.startswith(
        f"The base '{folder}' cannot be loaded: The repository {folder} contains custom code"
    )
    assert message.endswith(f"{EXPECTED} Check the name, or the network.")


def test_a_missing_weight_is_not_filled_with_random_values(write_folder: WriteFolder):
    folder = write_folder(with_head=False)
    change_weights(folder, **{BIAS: None})
    assert refuse(folder) == (
        f"The base '{folder}' lacks the tensor '{BIAS}' (1 missing in all). Expected every tensor that its "
        "config.json "
        "asks for. Download it again, or correct config.json."
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_no_number_is_refused(write_folder: WriteFolder, value: float):
    folder = write_folder(with_head=False)
    change_weights(folder, **{BIAS: torch.tensor([0.5] * 15 + [value])})
    with pytest.raises(BaseModelError) as refusal:
        load_base(str(folder), device="cpu")
    assert str(refusal.value) == (
        f"The base '{folder}' has a tensor '{BIAS}' with values that are infinite or not a number. Expected numbers. "
        "Its file is damaged: download it again."
    )


def test_a_weight_of_another_shape_is_refused(write_folder: WriteFolder):
    folder = write_folder(with_head=False)
    change_weights(folder, **{BIAS: torch.zeros(15)})
    assert refuse(folder) == (
        f"The base '{folder}' has a tensor '{BIAS}' of the shape [15] where its config.json asks for [16] "
        "(1 such in "
        "all). The two files do not belong together. Download it again."
    )


@pytest.mark.parametrize("cut", [0, 5, 20000])
def test_weights_that_were_cut_short_are_refused(write_folder: WriteFolder, cut: int):
    folder = write_folder()
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    message = refuse(folder)
    assert message.startswith(f"The base '{folder}' cannot be loaded: Error while deserializing header: ")
    assert message.endswith(f". {EXPECTED} Check the name, or the network.")


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", '"bert"', '{"model_type": 3}'])
def test_a_damaged_json_file_is_refused(write_folder: WriteFolder, file: str, text: str):
    folder = write_folder()
    (folder / file).write_text(text)
    message = refuse(folder)
    assert message.startswith((f"The base '{folder}' cannot be loaded: ", "A base of the type "))


def test_a_pooler_is_left_out(write_folder: WriteFolder, tmp_path: Path):
    folder = write_folder(with_head=False)
    change_weights(folder, **{"pooler.dense.weight": torch.ones(16, 16), "pooler.dense.bias": torch.ones(16)})
    names = dict(load_pretrained(str(folder)).model.named_parameters())
    assert [name for name in names if "pooler" in name] == []
    shutil.rmtree(tmp_path)
