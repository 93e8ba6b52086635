"""Rows of a batch become padded tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from polygraft.data.batches import pad_length
from polygraft.data.encode import IGNORE, EncodedLabels, EncodedTags, EncodedText


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some rows as padded tensors.

    Args:
        rows: Which rows of the encoded data these are.
        input_ids: Token ids, padded on the right to what `pad_length` says.
        attention_mask: 1 at tokens, 0 at padding.
        labels: For tagging, a label a token (`[B, T]`, `IGNORE` where none is); for sequence labels, one a
            row (`[B]`).
        word_of: For tagging, the number of the word that a token belongs to, -1 at special tokens and
            padding.
        num_tokens: Tokens without padding.
    """

    rows: NDArray[np.int64]
    input_ids: Int64[Tensor, "B T"]
    attention_mask: Int64[Tensor, "B T"]
    labels: Int64[Tensor, "B ..."] | None = None
    word_of: Int64[Tensor, "B T"] | None = None
    num_tokens: int

    def to(self, device: torch.device | str) -> Batch:
        """Give the same batch with its tensors on a device.

        Args:
            device: Where the base is.
        """
        return Batch(
            rows=self.rows,
            input_ids=self.input_ids.to(device),
            attention_mask=self.attention_mask.to(device),
            labels=None if self.labels is None else self.labels.to(device),
            word_of=None if self.word_of is None else self.word_of.to(device),
            num_tokens=self.num_tokens,
        )


def collate(encoded: EncodedText, rows: NDArray[np.integer], *, pad_id: int) -> Batch:
    """Gather rows of the encoded data and pad them to the length of the longest of them, rounded up a little.

    Lengths are rounded as `pad_length` says, and never beyond the longest row of all the data.

    Args:
        encoded: Text, tags or labels.
        rows: Numbers of the rows; the batch keeps their order.
        pad_id: The tokenizer's padding token.

    Example:
        >>> text = EncodedText(ids=np.array([5, 6, 7], dtype=np.int32), starts=np.array([0, 1, 3]))
        >>> collate(text, np.array([0, 1]), pad_id=1).input_ids.tolist()
        [[5, 1], [6, 7]]
    """
    rows = np.asarray(rows, dtype=np.int64)
    starts = encoded.starts[rows]
    lengths = encoded.starts[rows + 1] - starts
    columns = np.arange(min(pad_length(int(lengths.max(initial=0))), encoded.longest))
    filled = columns < lengths[:, None]
    places = (starts[:, None] + columns)[filled]

    def pad(values: NDArray[np.int32], fill: int) -> Tensor:
        padded = np.full(filled.shape, fill, dtype=np.int64)
        padded[filled] = values[places]
        return torch.from_numpy(padded)

    labels: Tensor | None = None
    if isinstance(encoded, EncodedTags):
        labels = pad(encoded.labels, IGNORE)
    elif isinstance(encoded, EncodedLabels):
        labels = torch.from_numpy(encoded.labels[rows].astype(np.int64))
    return Batch(
        rows=rows,
        input_ids=pad(encoded.ids, pad_id),
        attention_mask=torch.from_numpy(filled.astype(np.int64)),
        labels=labels,
        word_of=pad(encoded.word_of, -1) if isinstance(encoded, EncodedTags) else None,
        num_tokens=int(lengths.sum()),
    )


def pad_places(places: Tensor) -> Tensor:
    """Fill up the places of some tokens of a batch [N] with place 0, to at least one and to one of few numbers.

    Few numbers make few shapes, as `pad_length` says.

    Args:
        places: Each `row * T + column`.

    Example:
        >>> pad_places(torch.arange(1, 34)).tolist()[-2:], pad_places(torch.arange(0)).tolist()
        ([33, 0], [0])
    """
    return functional.pad(places, (0, max(1, pad_length(len(places))) - len(places)))
