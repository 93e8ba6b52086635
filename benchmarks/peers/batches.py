"""Batches as they lie in a file, so that both environments train on the same numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IGNORE = -100
"""The label of a token that no loss looks at."""
PAD = 1
"""The piece that fills rows: both bases have XLM-R's vocabulary."""


class Rows(NamedTuple):
    """Rows of token ids, one after the other, with a label at every token."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    labels: NDArray[np.int32]

    def pad(self, rows: Iterable[int], *, length: int | None = None) -> Padded:
        """Pad some rows to the longest of them, or to a length."""
        spans = [slice(self.starts[row], self.starts[row + 1]) for row in rows]
        width = length or max(span.stop - span.start for span in spans)
        ids = np.full((len(spans), width), PAD, dtype=np.int64)
        mask = np.zeros_like(ids)
        labels = np.full_like(ids, IGNORE)
        for place, span in enumerate(spans):
            size = span.stop - span.start
            ids[place, :size], mask[place, :size] = self.ids[span], 1
            labels[place, :size] = self.labels[span]
        return Padded(torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(labels))

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1


class Padded(NamedTuple):
    """One batch; all tensors are [B, T]."""

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor

    @property
    def num_tokens(self) -> int:
        """Tokens without padding."""
        return int(self.attention_mask.sum())


def write_rows(path: Path, rows: Rows, batches: Iterable[Iterable[int]] = ()) -> None:
    """Write rows, and which of them stand together in each batch."""
    groups = [np.asarray(list(batch), dtype=np.int64) for batch in batches]
    np.savez(
        path,
        ids=rows.ids,
        starts=rows.starts,
        labels=rows.labels,
        order=np.concatenate(groups) if groups else np.empty(0, np.int64),
        sizes=np.asarray([len(group) for group in groups], dtype=np.int64),
    )


def read_rows(path: Path) -> Rows:
    """Read rows."""
    with np.load(path) as file:
        return Rows(file["ids"], file["starts"], file["labels"])


def read_order(path: Path) -> list[NDArray[np.int64]]:
    """Read which rows stand together in each batch."""
    with np.load(path) as file:
        return np.split(file["order"], np.cumsum(file["sizes"])[:-1])


def read_batches(path: Path) -> Iterator[Padded]:
    """Read the batches of a file, in their order."""
    rows = read_rows(path)
    for batch in read_order(path):
        yield rows.pad(batch)
