"""Damaged folders of AdapterHub: a sentence that names the file, and the exit code 1."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.cli.conftest import Command
from tests.interop.golden import FORMATS
from tests.tiny import make_tokenizer

HUB = FORMATS / "adapterhub" / "bert"
CONFIG, WEIGHTS = "adapter_config.json", "pytorch_adapter.bin"
BIAS = "bert.encoder.layer.1.output.adapters.ner.adapter_up.bias"


def cut_zip(folder: Path) -> None:
    whole = folder.with_suffix(".zip")
    with zipfile.ZipFile(whole, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    data = whole.read_bytes()
    whole.unlink()
    shutil.rmtree(folder)
    folder.write_bytes(data[: len(data) // 2])


def cut_weights(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])


def lose(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def change_tensor(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = torch.load(folder / WEIGHTS, weights_only=True)
        change(tensors)
        torch.save(tensors, folder / WEIGHTS)

    return damage


def put_two_in_one(tensors: dict[str, torch.Tensor]) -> None:
    tensors |= {name.replace(".ner.", ".pos."): tensor for name, tensor in list(tensors.items())}


def put_two_beside(folder: Path) -> None:
    for name in ("ner", "pos"):
        shutil.copytree(HUB / "adapters" / "ner", folder / name)
    for file in (CONFIG, WEIGHTS):
        (folder / file).unlink()


def cut_config(folder: Path) -> None:
    (folder / CONFIG).write_text((folder / CONFIG).read_text()[:40])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            cut_zip,
            "x begins as a zip and has no list of what is in it, so it was cut short. Expected the folder that the "
            "other library wrote, or a zip of it. Check the path.",
        ),
        (
            cut_weights,
            f"x/{WEIGHTS} cannot be read as a file of tensors: BadZipFile, File is not a zip file. Expected what "
            "`torch.save` writes of tensors by name; nothing in it was run. Get it again from where it was made.",
        ),
        (
            lose(WEIGHTS),
            f"x has no file adapter.safetensors: there is {CONFIG}. Expected the folder that the other library wrote. "
            "Name that folder, or a zip of it.",
        ),
        (
            lose(CONFIG),
            f"x has no file {CONFIG}: there is {WEIGHTS}. Expected the folder that the other library wrote. Name that "
            "folder, or a zip of it.",
        ),
        (
            put_two_beside,
            "x has no files, only the folders ner, pos. Expected the folder that the other library wrote. Name one of "
            "them.",
        ),
        (
            change_tensor(put_two_in_one),
            "x does not have the tensors that its configuration asks for: it has 12 that nothing uses (such as "
            "'encoder.layer.0.output.adapters.pos.adapter_down.0.bias'). Expected exactly 12, for a base of the same "
            "shape. Import it on the base that it was trained on, with files that belong together.",
        ),
        (
            change_tensor(lambda tensors: tensors.update({BIAS: torch.ones(31)})),
            "The tensor 'bottleneck.layers.1.ffn.up.bias' of the graft 'ner' has the shape [31] where [32] was "
            "expected. The graft was made for a base of other sizes. It was to be made of x.",
        ),
        (
            change_tensor(lambda tensors: tensors[BIAS].fill_(float("nan"))),
            f"x/{WEIGHTS}, '{BIAS}': 32 of 32 values are infinite or not a number. Expected numbers. The training that "
            "made them went wrong, or the file is damaged: get another.",
        ),
    ],
)
def test_what_is_damaged_is_told_by_its_file(
    polygraft: Command, reader: Path, damage: Callable[[Path], None], message: str
):
    assert read_damaged(polygraft, reader, damage) == f"error: {message}\n"


def test_a_configuration_that_was_cut_short_is_told_by_its_name(polygraft: Command, reader: Path):
    told = read_damaged(polygraft, reader, cut_config)
    assert told.startswith(f"error: x/{CONFIG} is no JSON: ")
    assert told.endswith(
        ". Expected one object with keys of the other library. Get the file again from where it was made.\n"
    )


def read_damaged(polygraft: Command, reader: Path, damage: Callable[[Path], None]) -> str:
    """Import a damaged copy, and give what is said of it."""
    shutil.copytree(HUB / "base", reader / "hub")
    make_tokenizer().save_pretrained(reader / "hub")
    shutil.copytree(HUB / "adapters" / "ner", reader / "x")
    damage(reader / "x")
    done = polygraft("import", "adapterhub", "x", "--name", "ner", "--base", "hub")
    assert (done.exit_code, done.stdout) == (1, "")
    return done.stderr
