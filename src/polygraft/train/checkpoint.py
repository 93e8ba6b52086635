"""Checkpoints: all that a killed training needs to end with the same bytes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from polygraft.store.files import LEFTOVER, leftover, sync_folder, write_new

TENSORS = "state.safetensors"
FACTS = "state.json"
NUM_KEPT = 2


@dataclass(frozen=True, kw_only=True)
class State:
    """What was saved after a step; without tensors and facts where every checkpoint is damaged."""

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
        self._damaged: list[Path] = []
        """Those that `load` could not read; the next one that is written takes their place."""

    def save(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Write a checkpoint whole or not at all.

        Beside it the newest other one stays; the rest are removed, also those of another key and the damaged ones.

        Args:
            step: After which step.
            tensors: By name.
            facts: What else is to be remembered, as JSON can hold it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove(self.folder.glob(f"{LEFTOVER}*"))
        data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        whole = {**facts, "key": self.key}
        text = json.dumps({**whole, "sha256": _digest(data, whole)})
        unfinished = leftover(self.folder)
        unfinished.mkdir()
        write_new(unfinished / TENSORS, data)
        write_new(unfinished / FACTS, text.encode())
        sync_folder(unfinished)
        final = self._path(step)
        self._remove([final] if final.exists() else [])
        unfinished.rename(final)
        sync_folder(self.folder)
        others = [path for path in self._list() if path != final and path not in self._damaged]
        # What was just written stays, whatever its number.
        kept = [final, *others[: NUM_KEPT - 1]]
        self._remove(path for path in self.folder.glob("step-*") if path not in kept)
        self._damaged = []

    def load(self) -> State | None:
        """Read the newest checkpoint that is whole and belongs to this training, or give None."""
        damaged: list[str] = []
        self._damaged = []
        for path in self._list():
            try:
                facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
                data = (path / TENSORS).read_bytes()
                if facts["key"] != self.key:
                    continue
                if facts.pop("sha256") != _digest(data, facts):
                    raise ValueError(path.name)
                tensors = load(data)
            except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
                self._damaged.append(path)
                damaged.append(
                    f"The checkpoint {path.name} in {self.folder} cannot be read ({type(error).__name__}); "
                    "training goes on from the one before, or from the start if there is none."
                )
                continue
            return State(tensors=tensors, facts=facts, damaged=tuple(damaged))
        return State(tensors={}, facts={}, damaged=tuple(damaged)) if damaged else None

    def clear(self) -> None:
        """Remove all checkpoints: the training is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}-{self.key[:16]}"

    def _list(self) -> list[Path]:
        """List finished checkpoints of this key, newest first."""
        return sorted(self.folder.glob(f"step-*-{self.key[:16]}"), reverse=True)

    @staticmethod
    def _remove(folders: Iterable[Path]) -> None:
        for path in folders:
            shutil.rmtree(path)


def _digest(data: bytes, facts: Mapping[str, Any]) -> str:
    """Give a digest of the bytes of the tensors and of the facts as JSON has them."""
    # Once there and back, since JSON turns tuples into lists and numbers that are keys into text.
    plain = json.loads(json.dumps(facts))
    digest = hashlib.sha256(data)
    digest.update(json.dumps(plain, sort_keys=True).encode())
    return digest.hexdigest()
