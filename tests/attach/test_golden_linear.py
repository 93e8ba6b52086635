"""The numbers that PEFT 0.21.2 and AdapterHub's library 1.3.0 gave for their own LoRA and (IA)3, again to 1e-5.

The folders in tests/formats were written by these libraries; their tensors are renamed by hand here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.tiny import make_tokenizer
from torch import Tensor
from transformers import AutoModel

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft, copy_tensors, make_graft
from polygraft.attach.merge import merge
from polygraft.base.base import Base
from polygraft.base.load import freeze_base
from polygraft.base.projections import find_projection
from polygraft.parts.head import Head
from polygraft.parts.ia3 import IA3
from polygraft.parts.lora import Lora
from polygraft.parts.part import Part

FORMATS = Path(__file__).parent.parent / "formats"
CLOSE = 1e-5
ROLES = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "output",
    "intermediate.dense": "up",
    "output.dense": "down",
}
PEFT = re.compile(r"layer\.(\d+)\.([\w.]+)\.(lora_A\.weight|lora_B\.weight|lora_magnitude_vector|ia3_l)$")
ADAPTERHUB = re.compile(r"layer\.(\d+)\.([\w.]+)\.loras\.\w+\.(lora_A|lora_B)$")
OWN_NAMES = {"lora_A": "A", "lora_B": "B", "lora_A.weight": "A", "lora_B.weight": "B"}


def load_base_in(folder: Path) -> Base:
    model = AutoModel.from_pretrained(folder / "base", add_pooling_layer=False)
    return freeze_base(name=folder.name, model=model, tokenizer=make_tokenizer())


def rename_lora(base: Base, tensors: Mapping[str, Tensor], pattern: re.Pattern[str]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if (match := pattern.search(name)) is None:
            continue
        layer, role = int(match[1]), ROLES[match[2]]
        key = f"lora.layers.{layer}.{role}"
        if match[3] == "lora_magnitude_vector":
            weight = find_projection(base.sites, layer=layer, role=role).weight
            found[f"{key}.magnitude"] = tensor - weight.detach().norm(dim=1)
        else:
            found[f"{key}.{OWN_NAMES[match[3]]}"] = tensor
    return found


def rename_ia3(tensors: Mapping[str, Tensor], pattern: re.Pattern[str], part: IA3) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if (match := pattern.search(name)) is not None:
            role = ROLES[match[2]]
            side = "outputs" if role in part.outputs else "inputs"
            found[f"ia3.{side}.{match[1]}.{role}"] = tensor.flatten()
    return found


ALL = ("query", "key", "value", "output", "up", "down")
PEFT_CASES: Mapping[str, Part] = {
    "lora": Lora(rank=4, alpha=16),
    "lora-rs": Lora(rank=4, alpha=8, rslora=True, roles=ALL),
    "dora": Lora(rank=4, alpha=6, dora=True, roles=("query", "value", "up")),
    "ia3": IA3(outputs=("key", "value", "up"), inputs=()),
    # In PEFT's configuration one name means both maps that give a sublayer's output.
    "ia3-inputs": IA3(outputs=("key", "value"), inputs=("output", "down")),
}


def read_peft(base: Base, folder: Path, part: Part) -> Graft:
    config = json.loads((folder / "adapter_config.json").read_text())
    if isinstance(part, Lora):
        assert (part.rank, part.alpha) == (config["r"], config["lora_alpha"])
        assert (part.rslora, part.dora) == (config["use_rslora"], config["use_dora"])
    tensors = load_file(folder / "adapter_model.safetensors")
    own = rename_ia3(tensors, PEFT, part) if isinstance(part, IA3) else rename_lora(base, tensors, PEFT)
    own |= {f"head.out.{kind}": tensors[f"base_model.model.classifier.{kind}"] for kind in ("weight", "bias")}
    head = Head(objective="tokens", labels=tuple(f"label{index}" for index in range(5)))
    graft = make_graft(base, folder.name, [part, head])
    copy_tensors(graft, own)
    return graft


@pytest.fixture(scope="module", params=["bert", "xlm-roberta"])
def peft_folder(request: pytest.FixtureRequest) -> Path:
    return FORMATS / "peft" / request.param


@pytest.fixture(scope="module")
def peft_base(peft_folder: Path) -> Base:
    return load_base_in(peft_folder)


@pytest.mark.parametrize("put", [attach, merge])
@pytest.mark.parametrize("case", PEFT_CASES)
@torch.no_grad()
def test_a_folder_of_peft_gives_the_same_scores(
    peft_base: Base, peft_folder: Path, case: str, put: Callable[..., object]
):
    graft = read_peft(peft_base, peft_folder / case, PEFT_CASES[case])
    inputs = load_file(peft_folder / "inputs.safetensors")
    with put(peft_base, case, grafts=[graft]) as attachment:
        scores = attachment.score(inputs["input_ids"], inputs["attention_mask"])
    expected = load_file(peft_folder / f"expected-{case}.safetensors")["expected"]
    difference = (scores - expected) * inputs["attention_mask"][..., None]
    assert scores.shape == expected.shape and difference.abs().max() < CLOSE


def test_dora_has_the_gradients_that_peft_has(peft_base: Base, peft_folder: Path):
    graft = read_peft(peft_base, peft_folder / "dora", PEFT_CASES["dora"])
    inputs = load_file(peft_folder / "inputs.safetensors")
    with attach(peft_base, "dora", grafts=[graft]) as attachment:
        scores = attachment.score(inputs["input_ids"], inputs["attention_mask"])
        (scores * inputs["attention_mask"][..., None]).square().sum().backward()
    theirs = load_file(peft_folder / "expected-dora-gradients.safetensors")
    seen = 0
    for name, expected in theirs.items():
        match = re.search(r"layer\.(\d+)\.([\w.]+)\.lora_(A|B|magnitude_vector)(\.weight)?$", name)
        own = "magnitude" if match[3] == "magnitude_vector" else match[3]
        found = graft.layers.get_parameter(f"lora.layers.{match[1]}.{ROLES[match[2]]}.{own}").grad
        assert (found - expected).abs().max() < CLOSE * expected.abs().max()
        seen += 1
    assert seen == len(list(graft.layers.get_submodule("lora").parameters())) == 27


def test_the_lengths_of_a_dora_folder_come_back_bit_for_bit(peft_base: Base, peft_folder: Path):
    graft = read_peft(peft_base, peft_folder / "dora", PEFT_CASES["dora"])
    theirs = load_file(peft_folder / "dora" / "adapter_model.safetensors")
    names = [name for name in theirs if name.endswith("lora_magnitude_vector")]
    for name in names:
        match = PEFT.search(name)
        role = ROLES[match[2]]
        weight = find_projection(peft_base.sites, layer=int(match[1]), role=role).weight
        own = graft.tensors()[f"lora.layers.{match[1]}.{role}.magnitude"]
        assert torch.equal(weight.detach().norm(dim=1) + own, theirs[name])
    assert len(names) == 9


@pytest.fixture(scope="module", params=["bert", "xlm-roberta"])
def adapterhub_folder(request: pytest.FixtureRequest) -> Path:
    return FORMATS / "adapterhub" / request.param


@pytest.mark.parametrize("case", ["lora", "ia3"])
@torch.no_grad()
def test_an_adapter_of_adapterhub_gives_the_same_hidden_state(adapterhub_folder: Path, case: str):
    base = load_base_in(adapterhub_folder)
    folder = adapterhub_folder / "adapters" / case
    tensors = torch.load(folder / "pytorch_adapter.bin", weights_only=True)
    config = json.loads((folder / "adapter_config.json").read_text())["config"]
    part = IA3(outputs=("key", "value", "up"), inputs=())
    if case == "lora":
        graft = make_graft(base, case, [Lora(rank=config["r"], alpha=config["alpha"])])
        copy_tensors(graft, rename_lora(base, tensors, ADAPTERHUB))
    else:
        graft = make_graft(base, case, [part])
        copy_tensors(graft, rename_ia3(tensors, ADAPTERHUB, part))
    inputs = load_file(adapterhub_folder / "inputs.safetensors")
    with attach(base, case, grafts=[graft]) as attachment:
        hidden = attachment.run(inputs["input_ids"], inputs["attention_mask"])
    expected = load_file(adapterhub_folder / f"expected-{case}.safetensors")["expected"]
    assert ((hidden - expected) * inputs["attention_mask"][..., None]).abs().max() < CLOSE
