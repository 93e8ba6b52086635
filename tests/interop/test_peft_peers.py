"""What PEFT itself computes: with its own folders that came over, and with folders that are written for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.interop.peers import run_peer
from tests.tiny import make_tokenizer, make_trained_graft
from torch import Tensor
from transformers import AutoModel

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft
from polygraft.base.base import Base
from polygraft.base.load import freeze_base
from polygraft.interop.certificate import certify, read_expected
from polygraft.interop.peft import import_peft
from polygraft.interop.peft_export import export_peft
from polygraft.parts.bitfit import BitFit
from polygraft.parts.head import Head
from polygraft.parts.ia3 import IA3
from polygraft.parts.lora import Lora
from polygraft.parts.part import Part
from polygraft.parts.prefix import Prefix
from polygraft.parts.prompt import Prompt

LABELS = ("O", "B", "I", "X")
PREFIX = Prefix(length=4, reparameterization=5, moves_positions=True)
SEQUENCE = Head(objective="sequence", labels=LABELS)
TOKENS = Head(objective="tokens", labels=LABELS)
OWN: Mapping[str, Mapping[str, list[Part]]] = {
    "bert-tokens": {
        "lora": [Lora(rank=2, alpha=3), TOKENS],
        "dora": [Lora(rank=2, roles=("query", "down"), dora=True), TOKENS],
        "groups": [
            Lora(rank=2, roles=("query",), skip_layers=(1,)),
            Lora(rank=3, alpha=5, roles=("query", "up"), skip_layers=(0, 2)),
            TOKENS,
        ],
        "ia3": [IA3(), TOKENS],
        "biases": [Lora(rank=2), BitFit(), TOKENS],
        "prompt": [Prompt(length=4), TOKENS],
        "prefix": [PREFIX, TOKENS],
    },
    "bert-sequence": {"lora": [Lora(rank=2), SEQUENCE], "prefix": [PREFIX, SEQUENCE]},
    "roberta-sequence": {"lora": [Lora(rank=2), SEQUENCE]},
    "deberta-v2-sequence": {
        "lora": [Lora(rank=2), Head(objective="sequence", labels=LABELS, activation="gelu")]
    },
    "distilbert-sequence": {
        "lora": [Lora(rank=2), Head(objective="sequence", labels=LABELS, activation="relu")]
    },
    "llama-tokens": {"prompt": [Prompt(length=4), TOKENS], "prefix": [PREFIX, TOKENS]},
    "roberta-tokens": {"prompt": [Prompt(length=4), TOKENS], "prefix": [PREFIX, TOKENS]},
    "qwen3-hidden": {"prefix": [PREFIX]},
    "gpt2-hidden": {
        "all": [Lora(rank=2, alpha=3, roles=("query", "key", "value", "output", "up", "down"))],
        "one": [Lora(rank=2, alpha=3, roles=("key",), skip_layers=(0,))],
        "mixed": [
            Lora(rank=2, alpha=3, roles=("query", "up"), rslora=True),
            Lora(rank=3, alpha=5, roles=("value",), rslora=True),
        ],
        "dora": [Lora(rank=2, roles=("query", "value", "down"), dora=True)],
        "ia3": [IA3(outputs=("key", "up"), inputs=("down", "output"))],
        "prefix": [Prefix(length=4, reparameterization=None, moves_positions=True)],
    },
    "gpt2-tokens": {"lora": [Lora(rank=2), TOKENS]},
    "modernbert-hidden": {
        "all": [Lora(rank=2, alpha=3, roles=("query", "key", "value", "output", "gate", "up", "down"))],
        "dora": [Lora(rank=2, roles=("query", "value", "up"), dora=True)],
        "ia3": [IA3(outputs=("query", "gate"), inputs=("down",))],
    },
}
"""Grafts of our own, by base."""


def load_base(folder: Path, name: str) -> Base:
    """The bare base that PEFT had, in a model for some task."""
    options = {"add_pooling_layer": False} if name.startswith(("bert", "roberta")) else {}
    model = AutoModel.from_pretrained(folder / "bases" / name, **options)
    return freeze_base(name=name, model=model, tokenizer=make_tokenizer())


def compute(base: Base, graft: Graft, inputs: Mapping[str, Tensor]) -> Tensor:
    with attach(base, graft.name, grafts=[graft]) as attachment, torch.no_grad():
        run = attachment.run if graft.find_head() is None else attachment.score
        return run(inputs["input_ids"], inputs["attention_mask"])


def find_difference(given: Tensor, wanted: Tensor, mask: Tensor) -> float:
    assert given.shape == wanted.shape
    difference = (given - wanted).abs()
    return float((difference[mask.bool()] if difference.dim() == 3 else difference).max())


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_its_library_reads_what_we_write_and_we_what_it_writes(tmp_path: Path):
    run_peer("peer_peft.py", "make", tmp_path)
    inputs = load_file(tmp_path / "inputs.safetensors")
    wanted: dict[str, Tensor] = {}
    for folder in sorted((tmp_path / "made").iterdir()):
        base = load_base(tmp_path, folder.name)
        for made in sorted(folder.iterdir()):
            case = f"{folder.name}/{made.name}"
            labels = None if folder.name.endswith("-hidden") else LABELS
            graft = import_peft(base, made, name="theirs", labels=labels).graft
            expected = read_expected(
                tmp_path / "inputs.safetensors", tmp_path / "expected" / f"{case}.safetensors"
            )
            assert certify(base, graft, expected).largest_difference < 1e-5, case
            export_peft(base, graft, tmp_path / "exported" / case)
            wanted[case] = expected.outputs
        for name, parts in OWN.get(folder.name, {}).items():
            case = f"{folder.name}/own-{name}"
            graft = make_trained_graft(base, "ours", parts)
            export_peft(base, graft, tmp_path / "exported" / case)
            wanted[case] = compute(base, graft, inputs)
    run_peer("peer_peft.py", "load", tmp_path)
    assert len(wanted) == len(list((tmp_path / "given").glob("*/*")))
    for case, outputs in wanted.items():
        given = load_file(tmp_path / "given" / f"{case}.safetensors")["given"]
        assert find_difference(given, outputs, inputs["attention_mask"]) < 1e-5, case
