"""Folders as the releases of AdapterHub's library before 4 wrote them: read as its own way of reading them does."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.interop.peer_base import write_peer_base
from tests.interop.peers import run_peer
from tests.tiny import make_base, make_trained_graft

from polygraft.attach.graft import Graft
from polygraft.base.base import Base
from polygraft.errors import DataError
from polygraft.interop.adapterhub import import_adapterhub
from polygraft.interop.adapterhub_export import export_adapterhub
from polygraft.interop.adapterhub_presets import PRESETS
from polygraft.interop.certificate import certify, read_expected
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.invertible import Invertible
from polygraft.parts.lora import Lora
from polygraft.parts.part import Part
from polygraft.parts.prefix import Prefix

CONFIG, WEIGHTS = "adapter_config.json", "pytorch_adapter.bin"
NESTED = {"block_type": "nice", "non_linearity": "relu", "reduction_factor": 2}
Change = Callable[[dict[str, Any]], None]


def rename(name: str, *, kind: str) -> str:
    """Give the name of a tensor as the first releases wrote it."""
    return (
        name.replace("attention.output.adapters", f"attention.output.attention_text_{kind}_adapters")
        .replace(".output.adapters", f".output.layer_text_{kind}_adapters")
        .replace("invertible_adapters", "invertible_lang_adapters")
    )


def make_old(folder: Path, change: Change, *, kind: str | None) -> None:
    """Make a folder of today one of the first releases; without a kind the tensors keep their names."""
    document = json.loads((folder / CONFIG).read_text())
    change(document)
    (folder / CONFIG).write_text(json.dumps(document))
    tensors = torch.load(folder / WEIGHTS, weights_only=True)
    renamed = {rename(name, kind=kind) if kind else name: tensor for name, tensor in tensors.items()}
    torch.save(renamed, folder / WEIGHTS, _use_new_zipfile_serialization=False)


def write_first(document: dict[str, Any], *, kind: str, **options: Any) -> None:
    """Write what adapter-transformers 1 did: no version, a nested invertible part, and what the hub added."""
    config = document["config"]
    names = ("mh_adapter", "output_adapter", "original_ln_before", "original_ln_after", "residual_before_ln")
    kept = {
        name: config[name] for name in (*names, "ln_before", "ln_after", "non_linearity", "reduction_factor")
    }
    document["config"] = {
        **kept,
        "adapter_residual_before_ln": False,
        "attention_type": "sent-lvl-dynamic",
        "invertible_adapter": NESTED if kind == "text_lang" else None,
        "leave_out": [],
        "new_attention_norm": False,
        **options,
    }
    document |= {"type": kind, "config_id": "9076f36a74755ac4", "model_class": "BertModelWithHeads"}
    del document["version"]


def capitalise(document: dict[str, Any]) -> None:
    write_first(document, kind="text_task")
    capitals = {"ln_before": "LN_before", "ln_after": "LN_after", "mh_adapter": "MH_Adapter"}
    config = document["config"]
    document["config"] = {capitals.get(key, key): value for key, value in config.items()}


def set_config(config: str) -> Change:
    def change(document: dict[str, Any]) -> None:
        document |= {"config": config, "type": "text_lang"}
        del document["version"]

    return change


def set_version(version: str) -> Change:
    def change(document: dict[str, Any]) -> None:
        document["version"] = version

    return change


OLD: Mapping[str, tuple[list[Part], str | None, Change]] = {
    "lang": (
        [Bottleneck(reduction=2, scaling=1.0), Invertible()],
        "lang",
        lambda document: write_first(document, kind="text_lang"),
    ),
    "task": (
        [Bottleneck(reduction=4, activation="gelu_new", scaling=1.0)],
        "task",
        lambda document: write_first(
            document, kind="text_task", non_linearity="gelu", invertible_adapter=NESTED
        ),
    ),
    "exact": (
        [Bottleneck(reduction=4, activation="gelu", scaling=1.0)],
        "task",
        lambda document: write_first(document, kind="text_task", non_linearity="gelu_orig"),
    ),
    "both": (
        [Bottleneck(reduction=4, activation="swish", placement="attention+ffn", scaling=1.0)],
        "task",
        lambda document: write_first(document, kind="text_task", invertible_adapter=NESTED),
    ),
    "named": (
        [Bottleneck(reduction=16, scaling=1.0), Invertible()],
        "lang",
        set_config("pfeiffer+inv"),
    ),
    "bracket": (
        [
            Bottleneck(
                reduction=4, activation="swish", placement="attention+ffn", scaling=1.0, skip_layers=(1,)
            )
        ],
        "lang",
        set_config("houlsby[reduction_factor=4,leave_out=[1]]"),
    ),
    "mixed": (
        [
            Prefix(length=2, reparameterization=5, activation="tanh"),
            Bottleneck(reduction=4, placement="parallel", scaling=4.0),
        ],
        None,
        set_config("prefix_tuning[prefix_length=2,bottleneck_size=5] | parallel[reduction_factor=4]"),
    ),
    "third": (
        [Lora(rank=2, alpha=6.0)],
        None,
        set_version("3.2.1"),
    ),
    "before": (
        [Lora(rank=2, alpha=6.0)],
        None,
        set_version("adapters.1.0.1"),
    ),
    "fixed": (
        [Lora(rank=2, alpha=6.0)],
        None,
        set_version("adapters.1.1.0"),
    ),
}


def write_all(base: Base, folder: Path) -> dict[str, Graft]:
    """Write every folder of the table, and give the grafts that they are of."""
    grafts: dict[str, Graft] = {}
    for name, (parts, kind, change) in OLD.items():
        grafts[name] = make_trained_graft(base, name, parts)
        export_adapterhub(base, grafts[name], folder / name)
        make_old(folder / name, change, kind=kind)
    return grafts


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_old_folders_are_the_grafts_that_they_were_of(tmp_path: Path, form: str):
    base = make_base("bert")
    for name, graft in write_all(base, tmp_path).items():
        path = tmp_path / name
        if form == "zip":
            path = tmp_path / f"{name}.zip"
            with zipfile.ZipFile(path, "w") as archive:
                for file in (tmp_path / name).iterdir():
                    archive.write(file, file.name)
        back = import_adapterhub(base, path, name=name).graft
        # That release computed as if alpha were the rank.
        wanted = (Lora(rank=2, alpha=2.0),) if name == "before" else graft.parts
        assert back.parts == wanted, name
        assert all(torch.equal(tensor, graft.tensors()[key]) for key, tensor in back.tensors().items())


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_old_folders_do_what_the_library_makes_of_them(tmp_path: Path):
    base = make_base("bert")
    inputs = write_peer_base(base, tmp_path / "bert")
    folder = tmp_path / "bert" / "old"
    write_all(base, folder)
    graft = make_trained_graft(base, "capitals", [Bottleneck(reduction=4, scaling=1.0)])
    export_adapterhub(base, graft, folder / "capitals")
    make_old(folder / "capitals", capitalise, kind="task")
    run_peer("peer_adapters.py", "old", tmp_path)
    report = json.loads((tmp_path / "bert" / "old.json").read_text())
    # Its releases since 2 do not read what the first one wrote; there it is the same with small letters.
    assert report == {**dict.fromkeys(OLD, "read"), "capitals": "TypeError"}
    for name in OLD:
        back = import_adapterhub(base, folder / name, name=name).graft
        certify(base, back, read_expected(inputs, tmp_path / "bert" / f"old-{name}.safetensors"))
    back = import_adapterhub(base, folder / "capitals", name="capitals").graft
    assert back.parts == graft.parts
    assert all(torch.equal(tensor, graft.tensors()[key]) for key, tensor in back.tensors().items())


@pytest.mark.peers
@pytest.mark.timeout(300)
def test_names_of_configurations_stand_for_what_they_do_there(tmp_path: Path):
    base = make_base("bert")
    run_peer("peer_adapters.py", "names", tmp_path)
    theirs = json.loads((tmp_path / "names.json").read_text())
    assert theirs.keys() == PRESETS.keys()
    assert {name: tell(base, name) for name in PRESETS} == {
        name: tell(base, theirs[name]) for name in PRESETS
    }


def tell(base: Base, config: Any) -> object:
    """Give the parts of a configuration, or the reason why there are none."""
    from polygraft.interop.adapterhub_parts import read_pieces

    try:
        return read_pieces(base, config, version="adapters.1.3.0", where="x")
    except DataError as error:
        return str(error)


def test_an_invertible_part_with_an_activation_of_its_own_is_refused(tmp_path: Path):
    base = make_base("bert")
    export_adapterhub(
        base,
        make_trained_graft(
            base, "x", [Bottleneck(reduction=2, activation="swish"), Invertible(activation="swish")]
        ),
        tmp_path,
    )
    make_old(tmp_path, lambda document: write_first(document, kind="text_lang"), kind="lang")
    with pytest.raises(DataError) as caught:
        import_adapterhub(base, tmp_path, name="x")
    assert str(caught.value) == (
        f"{tmp_path}/{CONFIG} has an invertible_adapter with the activation relu, and its bottlenecks have swish, "
        "which later releases of that library take for both. Expected one. Nothing says which of them it was trained "
        "with: compare with a file of a later release."
    )


LISTED = ", ".join(PRESETS)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            "pfeifer",
            'has config = "pfeifer", which names no configuration that polygraft knows. Expected options, or one of '
            f"{LISTED}, perhaps with options in brackets. Did you mean 'pfeiffer'? Get the file again from where it "
            "was made.",
        ),
        (
            "seq_bn[reduction_factor=__import__('os')]",
            "has config = \"seq_bn[reduction_factor=__import__('os')]\", whose brackets hold no options. Expected them "
            "as in seq_bn[reduction_factor=4,leave_out=[1]]. Get the file again from where it was made.",
        ),
        (
            "seq_bn|seq_bn",
            "has a union with two bottlenecks or compacters in layer 0. Expected one at most, as in that library. Get "
            "the file again from where it was made.",
        ),
        (
            3,
            "has config = 3. Expected the adapter's configuration. Get the file again from where it was made.",
        ),
        (
            {"architecture": "union", "configs": []},
            ", config has configs = []: that is no list of configurations. Expected one or more. What was trained with "
            "that cannot be brought over; nothing was written.",
        ),
        (
            {"architecture": "union", "configs": [{"architecture": "union", "configs": []}]},
            ', config has configs = [{"architecture": "union", "configs": []}]: a union has no unions in it. Expected '
            "other configurations. What was trained with that cannot be brought over; nothing was written.",
        ),
        (
            "mam[reduction_factor=2]",
            ", config has reduction_factor = 2, a key that polygraft does not know, so it cannot vouch for the "
            "numbers. Expected architecture, configs. Take a newer polygraft, or write the folder again with its own "
            "library and without this option.",
        ),
        (
            "unipelt",
            ", config, configs, 0 has use_gating = true: no part has a gate. Expected false. What was trained with "
            "that cannot be brought over; nothing was written.",
        ),
    ],
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, config: object, reason: str):
    base = make_base("bert")
    export_adapterhub(base, make_trained_graft(base, "x", [Bottleneck(reduction=2)]), tmp_path)
    document = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps({**document, "config": config}))
    with pytest.raises(DataError) as caught:
        import_adapterhub(base, tmp_path, name="x")
    told = str(caught.value)
    assert told.removeprefix(f"{tmp_path}/{CONFIG}").removeprefix(" ") == reason


def test_a_release_that_is_none_is_refused(tmp_path: Path):
    base = make_base("bert")
    export_adapterhub(base, make_trained_graft(base, "x", [Lora(rank=2)]), tmp_path)
    make_old(tmp_path, set_version("adapters.new"), kind=None)
    with pytest.raises(DataError) as caught:
        import_adapterhub(base, tmp_path, name="x")
    assert str(caught.value) == (
        f'{tmp_path}/{CONFIG} has version = "adapters.new", which is no release that polygraft knows. Expected one '
        "such as adapters.1.3.0. Get the file again from where it was made."
    )
