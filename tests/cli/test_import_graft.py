"""`polygraft import` and `polygraft export`, from folder to store and back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.cli.conftest import Command
from tests.interop.golden import FORMATS
from tests.tiny import make_tokenizer

from polygraft.store.store import Store

HUB = FORMATS / "adapterhub" / "bert"
SFT = FORMATS / "composable-sft" / "bert"
PEFT = FORMATS / "peft" / "bert"


@pytest.fixture
def golden(reader: Path) -> Path:
    """The reader's folder with two bases of other libraries' folders, as a whole base each."""
    for name, source in (("hub", HUB), ("sft", SFT), ("peft", PEFT)):
        shutil.copytree(source / "base", reader / name)
        make_tokenizer().save_pretrained(reader / name)
    return reader


def words(source: Path, case: str) -> list[str]:
    return ["--check", str(source / "inputs.safetensors"), str(source / f"expected-{case}.safetensors")]


def test_an_adapter_is_imported_with_its_certificate(polygraft: Command, golden: Path):
    done = polygraft(
        "import",
        "adapterhub",
        str(HUB / "adapters" / "qu"),
        "--name",
        "quz",
        "--base",
        "hub",
        *words(HUB, "qu"),
    )
    assert done.exit_code == 0, done.stderr
    assert done.stderr == "'quz', version 1, is now in store.\n"
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    assert lines[0] == "quz, version 1: certificate of the import"
    assert [" ".join(line.split()) for line in lines[1:6]] == [
        "From adapterhub, adapters.1.3.0",
        "Made for tiny-bert; imported for hub",
        "Parts bottleneck, invertible",
        "Tensors 20 of 20 used, none missing",
        "Parameters 3,512",
    ]
    assert lines[-1].startswith("Largest difference ")
    assert lines[-1].endswith(" hidden states, at most 1e-05 accepted")
    record = Store("store").manifest("quz").hyperparameters["import"]
    assert isinstance(record, dict)
    assert (record["library"], record["version"], record["made_for"], record["tensors_used"]) == (
        "adapterhub",
        "adapters.1.3.0",
        "tiny-bert",
        20,
    )
    assert record["compared"] == "hidden states"
    assert isinstance(record["largest_difference"], float)
    assert record["largest_difference"] < 1e-5
    assert polygraft("grafts", "show", "quz").exit_code == 0
    assert polygraft("grafts", "verify", "quz").exit_code == 0
    assert polygraft("doctor", "--plan", "quz", "--base", "hub").exit_code == 0


def test_a_sparse_fine_tuning_is_imported_and_exported_again(polygraft: Command, golden: Path):
    done = polygraft(
        *("import", "sft", str(SFT / "task-ner"), "--name", "ner2", "--base", "sft", "--json"),
        *("--labels", "O, B-PER,I-PER,B-LOC,I-LOC", *words(SFT, "task")),
    )
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["name"], found["version"], found["parts"]) == ("ner2", 1, ["delta", "head"])
    assert found["import"]["compared"] == "scores of labels"
    done = polygraft("export", "sft", "ner2", "out", "--base", "sft")
    assert (done.exit_code, done.stdout, done.stderr) == (
        0,
        "out/pytorch_diff.bin\n",
        "'ner2', version 1, is written.\n",
    )
    old, new = (
        torch.load(folder / "pytorch_diff.bin", weights_only=False)
        for folder in (SFT / "task-ner", Path("out"))
    )
    assert all(
        torch.equal(new["diffs"][name]["values"], diff["values"]) for name, diff in old["diffs"].items()
    )


def test_an_adapter_is_exported(polygraft: Command, golden: Path):
    polygraft("import", "adapterhub", str(HUB / "adapters" / "ner"), "--name", "ner2", "--base", "hub")
    done = polygraft("export", "adapterhub", "ner2", "out", "--base", "hub", "--safetensors")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "out/adapter_config.json\nout/adapter.safetensors\n"
    wanted = torch.load(HUB / "adapters" / "ner" / "pytorch_adapter.bin", weights_only=True)
    found = load_file("out/adapter.safetensors")
    assert {name.replace(".ner2.", ".ner.") for name in found} == wanted.keys()
    assert all(torch.equal(found[name.replace(".ner.", ".ner2.")], wanted[name]) for name in wanted)


@pytest.mark.parametrize("name", ["lora", "ia3"])
def test_a_folder_of_peft_is_imported_and_exported_again(polygraft: Command, golden: Path, name: str):
    done = polygraft(
        *("import", "peft", str(PEFT / name), "--name", "ner2", "--base", "peft", "--json"),
        *("--labels", "O,B-PER,I-PER,B-LOC,I-LOC", *words(PEFT, name)),
    )
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["import"]["largest_difference"] < 1e-5
    done = polygraft("export", "peft", "ner2", "out", "--base", "peft")
    assert done.stdout == "out/adapter_config.json\nout/adapter_model.safetensors\n", done.stderr
    old, new = (load_file(folder / "adapter_model.safetensors") for folder in (PEFT / name, Path("out")))
    assert old.keys() == new.keys()
    assert all(torch.equal(old[key], new[key]) for key in old)


def test_a_graft_that_is_written_for_another_base_comes_with_a_warning(polygraft: Command, golden: Path):
    words = ("import", "peft", str(PEFT / "dora"), "--name", "ner2", "--base", "peft")
    assert polygraft(*words).exit_code == 0
    done = polygraft("export", "peft", "ner2", "out", "--base", "sft")
    assert done.exit_code == 1
    assert (
        "Graft 'ner2' (store/ner2/1/graft.json) was trained on another base: it carries fingerprint "
        in done.stderr
    )
    assert "or pass --any-base to try it all the same." in done.stderr
    done = polygraft("export", "peft", "ner2", "out", "--base", "sft", "--any-base")
    assert done.exit_code == 0, done.stderr
    assert done.stderr == (
        "'ner2' was trained on 'peft' and is written for 'sft', which has other weights: what is stored as a "
        "difference to these (rows' lengths of DoRA, biases) is one to those of the new base. Load the files on that "
        "base, and compare what they give before you use them.\n'ner2', version 1, is written.\n"
    )


def test_nothing_is_stored_where_the_outputs_differ(polygraft: Command, golden: Path):
    done = polygraft(
        *("import", "adapterhub", str(HUB / "adapters" / "qu"), "--name", "quz", "--base", "hub"),
        *words(HUB, "ner"),
    )
    assert done.exit_code == 1
    assert done.stderr.startswith("error: The graft 'quz' gives hidden states that differ by up to ")
    assert "quz" not in Store("store").names()


def test_without_outputs_a_sentence_says_that_nothing_was_compared(polygraft: Command, golden: Path):
    done = polygraft("import", "sft", str(SFT / "lang-qu"), "--name", "quz", "--base", "sft")
    assert done.stderr == (
        "Nothing was compared: --check compares it with outputs that the other library gave.\n"
        "'quz', version 1, is now in store.\n"
    )
    assert " Largest difference       not compared\n" in done.stdout


def test_expected_outputs_of_another_shape_are_refused(polygraft: Command, golden: Path):
    save_file({"expected": torch.zeros(2, 3)}, "wrong.safetensors")
    done = polygraft(
        *("import", "adapterhub", str(HUB / "adapters" / "qu"), "--name", "quz", "--base", "hub"),
        *("--check", str(HUB / "inputs.safetensors"), "wrong.safetensors"),
    )
    rows, tokens = load_file(HUB / "inputs.safetensors")["input_ids"].shape
    assert done.stderr == (
        f"error: What was expected has the shape [2, 3]. Expected hidden states [{rows}, {tokens}, 32], which is what "
        "the graft 'quz' gives for this input. Give outputs of the same input and the same graft.\n"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ("import", "adapterhub", "nowhere", "--name", "x"),
            "nowhere is not there. Expected the folder that the other library wrote, or a zip of it. Check the path.",
        ),
        (
            ("import", "sft", "store", "--name", "a b"),
            "'a b' cannot be a graft's name. A name has 1 to 64 of the characters A-Z a-z 0-9 _ . -, begins with a "
            "letter or digit, and has no two dots in a row. Choose another name.",
        ),
        (
            ("export", "sft", "ner", "store"),
            "The folder store has .lock, ner, qu, topic in it. Expected a new folder, or an empty one. Name another, "
            "or empty it.",
        ),
        (
            ("export", "sft", "ner", "text.txt"),
            "text.txt is no folder. Expected a new folder, or an empty one. Name another.",
        ),
        (
            ("export", "sft", "ner", "out"),
            "The graft 'ner' has a bottleneck, and composable-sft knows differences and heads for labels only. "
            "Expected a graft of a delta, with a head or without. Export another graft.",
        ),
        (
            ("export", "adapterhub", "nre", "out"),
            "The store store holds no graft 'nre'. Did you mean 'ner'? `polygraft grafts list` shows all 3.",
        ),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(polygraft: Command, given: tuple[str, ...], message: str):
    done = polygraft(*given)
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", f"error: {message}\n")
