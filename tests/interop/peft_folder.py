"""PEFT's golden folders, and copies of them that a test may change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tests.interop.golden import FORMATS

from polygraft.attach.graft import Graft

FOLDER = FORMATS / "peft"
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def same(a: Graft, b: Graft) -> bool:
    first, second = a.tensors(), b.tensors()
    return (
        a.parts == b.parts
        and first.keys() == second.keys()
        and all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)
    )


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
