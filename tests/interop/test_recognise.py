"""A folder of one library that is given to the command of another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.interop.golden import FORMATS
from tests.tiny import make_base

from polygraft.base.base import Base
from polygraft.errors import DataError
from polygraft.interop.adapterhub import import_adapterhub
from polygraft.interop.composable_sft import import_composable_sft
from polygraft.interop.imported import Imported
from polygraft.interop.peft import import_peft
from polygraft.interop.recognise import ADAPTERHUB, PEFT, SFT, Library, find_signs, refuse_others
from polygraft.interop.source import Source, open_source

Import = Callable[..., Imported]
HUB, LORA = FORMATS / "adapterhub" / "bert", FORMATS / "peft" / "bert" / "lora"
LANGUAGE = FORMATS / "composable-sft" / "bert" / "lang-qu"
HUB_SIGN, PEFT_SIGN = "adapter_config.json with 'config'", "adapter_config.json with 'peft_type'"


@pytest.fixture(scope="module")
def base() -> Base:
    return make_base("bert")


@pytest.mark.parametrize(
    ("read", "wanted", "folder", "found", "sign", "command"),
    [
        (import_peft, "PEFT", HUB / "adapters" / "ner", "AdapterHub", HUB_SIGN, "adapterhub"),
        (import_peft, "PEFT", HUB / "heads" / "ner", "AdapterHub", "head_config.json", "adapterhub"),
        (import_peft, "PEFT", LANGUAGE, "composable-sft", "pytorch_diff.bin", "sft"),
        (import_adapterhub, "AdapterHub", LORA, "PEFT", PEFT_SIGN, "peft"),
        (import_adapterhub, "AdapterHub", LANGUAGE, "composable-sft", "pytorch_diff.bin", "sft"),
        (import_composable_sft, "composable-sft", LORA, "PEFT", PEFT_SIGN, "peft"),
        (
            import_composable_sft,
            "composable-sft",
            HUB / "adapters" / "ner",
            "AdapterHub",
            HUB_SIGN,
            "adapterhub",
        ),
    ],
)
def test_a_folder_of_another_library_is_named_with_its_command(
    base: Base, read: Import, wanted: str, folder: Path, found: str, sign: str, command: str
):
    with pytest.raises(DataError) as caught:
        read(base, folder, name="x")
    assert str(caught.value) == (
        f"{folder} is a folder of {found}, since it has {sign}. Expected one of {wanted}. Import it with `polygraft "
        f"import {command} {folder}`."
    )


@pytest.mark.parametrize(
    ("file", "library"),
    [
        ("adapter_model.bin", PEFT),
        ("adapter_model.safetensors", PEFT),
        ("adapter.safetensors", ADAPTERHUB),
        ("pytorch_adapter.bin", ADAPTERHUB),
        ("adapter_fusion_config.json", ADAPTERHUB),
        ("pytorch_diff.bin", SFT),
    ],
)
def test_one_file_shows_the_library(tmp_path: Path, file: str, library: Library):
    (tmp_path / file).write_bytes(b"")
    assert find_signs(open_source(tmp_path)) == {library.command: file}


def test_a_path_with_a_blank_is_quoted_in_the_command(tmp_path: Path):
    folder = tmp_path / "my lora"
    shutil.copytree(LORA, folder)
    with pytest.raises(DataError) as caught:
        refuse_others(open_source(folder), wanted=ADAPTERHUB)
    assert str(caught.value).endswith(f" Import it with `polygraft import peft '{folder}'`.")


def test_the_configuration_counts_more_than_names_of_files(tmp_path: Path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    (tmp_path / "head_config.json").write_text("{}")
    assert find_signs(open_source(tmp_path)) == {"peft": PEFT_SIGN}


def test_a_folder_with_files_of_two_libraries_is_read_by_either(tmp_path: Path):
    shutil.copytree(LORA, tmp_path, dirs_exist_ok=True)
    shutil.copytree(LANGUAGE, tmp_path, dirs_exist_ok=True)
    source = open_source(tmp_path)
    refuse_others(source, wanted=PEFT)
    refuse_others(source, wanted=SFT)


def test_a_folder_that_shows_no_library_is_let_through():
    refuse_others(Source(where="x", readers={}), wanted=PEFT)
