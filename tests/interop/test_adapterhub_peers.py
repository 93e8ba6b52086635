"""AdapterHub's own library reads what we write, and we what it writes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.interop.exported import GRAFTS
from tests.interop.peers import run_peer
from tests.tiny import make_tokenizer, make_trained_graft
from transformers import AutoConfig, AutoModel

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft
from polygraft.base.base import Base
from polygraft.base.load import freeze_base
from polygraft.interop.adapterhub import import_adapterhub
from polygraft.interop.adapterhub_export import export_adapterhub
from polygraft.interop.certificate import Expected, certify, read_expected

MADE_THERE = (
    *(
        "pfeiffer",
        "bottleneck",
        "twosided",
        "twofold",
        "houlsby",
        "learned",
        "lora",
        "ia3",
        "prefix",
        "flat",
        "compacter",
    ),
    *("compacter-own", "mam", "unipelt", "by-layer", "dora"),
)
FUSED = {"fused": ("pfeiffer", "bottleneck"), "mixed": ("twosided", "twofold")}
"""The adapters that each mixes."""
FAMILIES = ("bert", "deberta-v2", "distilbert", "electra", "roberta", "xlm-roberta")


@pytest.mark.peers
@pytest.mark.timeout(300)
def test_a_prefix_in_a_distilbert_depends_on_the_padding_there(tmp_path: Path):
    run_peer("peer_adapters.py", "padding", tmp_path)
    found = json.loads((tmp_path / "padding.json").read_text())
    # The same row, alone and in a batch with a longer one.
    assert found["eager"] < 1e-5
    assert found["sdpa"] > 1e-2


def load_peer_base(folder: Path) -> Base:
    model = AutoModel.from_config(AutoConfig.from_pretrained(folder))
    tensors = load_file(folder / "model.safetensors")
    missing, unknown = model.load_state_dict(tensors, strict=False)
    assert not [key for key in missing if not key.startswith("pooler.")]
    assert all(key.endswith("position_ids") for key in unknown)
    if "pooler" in dict(model.named_children()):
        model.pooler = None
    return freeze_base(name=folder.name, model=model, tokenizer=make_tokenizer())


def stands(family: str, name: str) -> bool:
    """Whether a graft is brought over there: prefixes are not to all families."""
    return family not in ("deberta-v2", "distilbert") or name not in ("prefix", "flat", "mam", "unipelt")


@dataclass
class There:
    """What the library made and gave for a base, and what came over."""

    folder: Path
    inputs: Path
    grafts: dict[str, Graft] = field(default_factory=dict[str, Graft])

    @property
    def family(self) -> str:
        return self.folder.name

    def expect(self, name: str) -> Expected:
        return read_expected(self.inputs, self.folder / f"expected-{name}.safetensors")


def compare_imports(there: There, base: Base) -> None:
    """Whether what the library made does here what it did there; it makes room for what is exported."""
    for name in MADE_THERE:
        if stands(there.family, name):
            graft = import_adapterhub(base, there.folder / name, name=name).graft
            certify(base, graft, there.expect(name), tolerance=1e-5)
            there.grafts[name] = graft
    for name, members in FUSED.items():
        imported = import_adapterhub(base, there.folder / name, name=name)
        assert imported.origin.members == members
        grafts = [*(there.grafts[member] for member in members), imported.graft]
        expected = there.expect(name)
        with (
            torch.no_grad(),
            attach(base, f"fuse({', '.join(members)}, by={name})", grafts=grafts) as attachment,
        ):
            hidden = attachment.run(expected.input_ids, expected.attention_mask)
        difference = (hidden - expected.outputs)[expected.attention_mask.bool()].abs().max()
        assert difference < 1e-5, (there.family, name)
        export_adapterhub(base, imported.graft, there.folder / "exported" / name, members=members)
        for member in members:
            export_adapterhub(base, there.grafts[member], there.folder / "exported" / member)


def compare_exports(there: There, base: Base, name: str, graft: Graft) -> None:
    """Whether a graft does there what it does here."""
    report = json.loads((there.folder / "report.json").read_text())[name]
    assert report == {}, (there.family, name)
    outputs, given = load_file(there.folder / f"given-{name}.safetensors"), load_file(there.inputs)
    mask = given["attention_mask"].bool()
    with attach(base, name, grafts=[graft], any_base=True) as attachment, torch.no_grad():
        hidden = attachment.run(given["input_ids"], given["attention_mask"])
        assert (hidden - outputs["hidden"])[mask].abs().max() < 1e-5, (there.family, name)
        if name in ("tokens", "sequence", "compacter", "mam"):
            scores = attachment.score(given["input_ids"], given["attention_mask"])
            difference = (scores - outputs["scores"]).abs()
            assert (difference if name == "sequence" else difference[mask]).max() < 1e-5, (there.family, name)


@pytest.mark.peers
@pytest.mark.timeout(600)
@pytest.mark.slow
def test_its_library_reads_what_we_write_and_we_what_it_writes(tmp_path: Path):
    run_peer("peer_adapters.py", "make", tmp_path)
    families = sorted(path.parent for path in tmp_path.glob("*/config.json"))
    assert [path.name for path in families] == sorted(FAMILIES)
    made = [There(folder=path, inputs=tmp_path / "inputs.safetensors") for path in families]
    ours: dict[tuple[str, str], Graft] = {}
    for there in made:
        base = load_peer_base(there.folder)
        compare_imports(there, base)
        for name, parts in GRAFTS.items():
            if name != "head" and stands(there.family, name):
                ours[there.family, name] = make_trained_graft(base, name, parts)
                export_adapterhub(base, ours[there.family, name], there.folder / "exported" / name)
    run_peer("peer_adapters.py", "load", tmp_path)
    for there in made:
        base = load_peer_base(there.folder)
        for (family, name), graft in ours.items():
            if family == there.family:
                compare_exports(there, base, name, graft)
        for name in FUSED:
            given = load_file(there.folder / f"given-{name}.safetensors")["hidden"]
            expected = there.expect(name)
            difference = (given - expected.outputs)[expected.attention_mask.bool()].abs().max()
            assert difference < 1e-5, (there.family, name)
