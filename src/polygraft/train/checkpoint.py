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
AGAIN = "-again"
"""What the name of a checkpoint ends with where one of the same step was there, which goes when this one is whole."""


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

        Beside it the newest one of another step stays; the rest are removed, also those of another key and the damaged
        ones. One of the same step is removed when the new one is whole, so that one of both is there at any moment.

        Args:
            step: After which step.
            tensors: By name.
            facts: What else is to be remembered, as JSON can hold it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob(f"{LEFTOVER}*"):
            shutil.rmtree(path)
        data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        whole = {**facts, "key": self.key}
        text = json.dumps({**whole, "sha256": _digest(data, whole)})
        unfinished = leftover(self.folder)
        unfinished.mkdir()
        write_new(unfinished / TENSORS, data)
        write_new(unfinished / FACTS, text.encode())
        sync_folder(unfinished)
        final = self._find_place(step)
        unfinished.rename(final)
        sync_folder(self.folder)
        same = self._list_names(step)
        others = [path for path in self._list() if path not in (*same, *self._damaged)]
        # What was just written stays, whatever its number.
        kept = [final, *others[: NUM_KEPT - 1]]
        self._remove([path for path in self.folder.glob("step-*") if path not in kept])
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

    def _list_names(self, step: int) -> list[Path]:
        """List where checkpoints of a step can be."""
        usual = f"step-{step:09d}-{self.key[:16]}"
        return [self.folder / usual, self.folder / f"{usual}{AGAIN}"]

    def _find_place(self, step: int) -> Path:
        """Find a free place for a checkpoint; one of the same step stays beside it until it is whole."""
        names = self._list_names(step)
        free = [path for path in names if not path.exists()]
        if free:
            return free[0]
        # A process ended before it could remove one of the two; what `load` could read stays.
        place = next((path for path in names if path in self._damaged), names[0])
        self._remove([place])
        return place

    def _list(self) -> list[Path]:
        """List finished checkpoints of this key, newest first."""
        names = f"step-*-{self.key[:16]}"
        return sorted((*self.folder.glob(names), *self.folder.glob(f"{names}{AGAIN}")), reverse=True)

    def _remove(self, folders: Iterable[Path]) -> None:
        for path in folders:
            # A process that ends meanwhile leaves nothing that looks like a damaged checkpoint.
            gone = leftover(self.folder)
            path.rename(gone)
            shutil.rmtree(gone)


def _digest(data: bytes, facts: Mapping[str, Any]) -> str:
    """Give a digest of the bytes of the tensors and of the facts as JSON has them."""
    # Once there and back, since JSON turns tuples into lists and numbers that are keys into text.
    plain = json.loads(json.dumps(facts))
    digest = hashlib.sha256(data)
    digest.update(json.dumps(plain, sort_keys=True).encode())
    return digest.hexdigest()
