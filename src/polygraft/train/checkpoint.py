"""Checkpoints: all that a killed training needs to end with the same bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from polygraft.store.files import leftover, sync_folder, write_new

TENSORS = "state.safetensors"
FACTS = "state.json"
NUM_KEPT = 2


@dataclass(frozen=True, kw_only=True)
class State:
    """What was saved after a step."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]
    damaged: tuple[str, ...] = ()
    """Sentences about newer checkpoints that could not be read."""


class Checkpoints:
    """A folder of checkpoints of one training.

    Args:
        folder: Where they are; made when the first is written.
        key: A digest of everything that the training depends on; checkpoints of another key are not used.
    """

    def __init__(self, folder: Path, *, key: str) -> None:
        self.folder = folder
        self.key = key

    def save(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Write a checkpoint whole or not at all, and remove the older ones."""
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = leftover(self.folder)
        unfinished.mkdir()
        write_new(unfinished / TENSORS, save({name: tensor.contiguous() for name, tensor in tensors.items()}))
        write_new(unfinished / FACTS, json.dumps({**facts, "key": self.key}).encode())
        sync_folder(unfinished)
        final = self._path(step)
        if final.exists():
            shutil.rmtree(final)
        unfinished.rename(final)
        sync_folder(self.folder)
        for path in self._list()[NUM_KEPT:]:
            shutil.rmtree(path)

    def load(self) -> State | None:
        """Read the newest checkpoint that is whole and belongs to this training, or give None."""
        damaged: list[str] = []
        for path in self._list():
            try:
                facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
                if facts["key"] != self.key:
                    continue
                tensors = load_file(path / TENSORS)
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                damaged.append(
                    f"The checkpoint {path.name} in {self.folder} cannot be read ({type(error).__name__}); "
                    "training goes on from the one before."
                )
                continue
            return State(tensors=tensors, facts=facts, damaged=tuple(damaged))
        return None

    def clear(self) -> None:
        """Remove all checkpoints: the training is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}"

    def _list(self) -> list[Path]:
        """List finished checkpoints, newest first."""
        return sorted(self.folder.glob("step-*"), reverse=True) if self.folder.is_dir() else []
