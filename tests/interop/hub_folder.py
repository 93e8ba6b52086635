"""AdapterHub's golden folders, and copies of them that a test may change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from tests.interop.golden import FORMATS

from polygraft.attach.graft import Graft
from polygraft.base.base import Base
from polygraft.interop.adapterhub import import_adapterhub

HUB = FORMATS / "adapterhub"


def read(base: Base, folder: Path, name: str, **options: bool) -> Graft:
    return import_adapterhub(base, folder, name=name, **options).graft


class Folder:
    """A copy of a golden folder that a test may change."""

    def __init__(self, folder: Path, *sources: str) -> None:
        self.path = folder / "changed"
        for source in sources:
            shutil.copytree(HUB / "bert" / source, self.path, dirs_exist_ok=True)

    def config(self, file: str = "adapter_config.json") -> dict[str, Any]:
        return json.loads((self.path / file).read_text())

    def change(self, file: str = "adapter_config.json", **changes: Any) -> None:
        """Change keys of the inner configuration."""
        document = self.config(file)
        document["config"].update(changes)
        self.write(document, file)

    def write(self, document: dict[str, Any], file: str = "adapter_config.json") -> None:
        (self.path / file).write_text(json.dumps(document))

    def tensors(self, file: str = "pytorch_adapter.bin") -> dict[str, torch.Tensor]:
        return torch.load(self.path / file, weights_only=True)

    def save(self, tensors: dict[str, Any], file: str = "pytorch_adapter.bin", **options: bool) -> None:
        torch.save(tensors, self.path / file, **options)


def same(a: Graft, b: Graft) -> bool:
    return a.parts == b.parts and all(
        torch.equal(tensor, b.tensors()[name]) for name, tensor in a.tensors().items()
    )
