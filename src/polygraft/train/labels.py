"""Learning labels: one a token, or one a text."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, ClassVar

import torch
from torch.nn import functional
from typing_extensions import override

from polygraft.attach.depth import Depth, can_begin_inside
from polygraft.attach.frozen import run_below, run_beyond
from polygraft.data.batches import plan_batches
from polygraft.data.chance import ORDER, make_generator
from polygraft.data.collate import collate, pad_places
from polygraft.data.encode import IGNORE, EncodedLabels, EncodedTags
from polygraft.errors import DataError
from polygraft.train.objective import BOTTOM, Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from polygraft.attach.attach import Attachment
    from polygraft.data.collate import Batch
    from polygraft.train.prefix import PrefixCache


class Labelling(Objective):
    """Cross entropy against the labels of the data, for the head of the plan.

    Every epoch has the same batches, in another order, so that what frozen layers give for them can be looked up from
    the second epoch on, with the same numbers to the bit.

    Args:
        data: Tagged sentences (a label at the first piece of each word) or labelled texts.
        cache: Where the output of frozen layers is kept; objectives may share it, on the same rows or others. None
            computes it every time.
    """

    name: ClassVar[str] = "labels"
    scores_can_be_zero: ClassVar[bool] = True

    def __init__(self, data: EncodedTags | EncodedLabels, *, cache: PrefixCache | None = None) -> None:
        self.data = data
        self.cache = cache

    @override
    def lengths(self) -> NDArray[np.int64]:
        return self.data.lengths

    @override
    def plan_epoch(self, *, batch_tokens: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
        batches = plan_batches(self.lengths(), token_budget=batch_tokens, seed=0, epoch=0)
        order = make_generator(ORDER, seed=seed, place=epoch).permutation(len(batches))
        return [batches[index] for index in order]

    @override
    def compute_loss(
        self, attachment: Attachment, rows: NDArray[np.int64], *, seed: int, step: int, depth: Depth = BOTTOM
    ) -> Loss:
        device = attachment.base.device
        batch = collate(self.data, rows, pad_id=attachment.base.pad_id)
        if batch.labels is None:
            raise DataError("The training data has no labels. Give tagged sentences or labelled texts.")
        head = attachment.find_head()
        places = head.find_places(batch.attention_mask)
        labels = batch.labels.flatten()
        num_targets = int((labels != IGNORE).sum())
        if places is None:
            places, labels = _choose_places(labels)
        num_found = 0 if self.cache is None else self.cache.num_found
        hidden = self._run(
            attachment, batch.to(device), layer=head.options.layer, depth=depth, at=places.to(device)
        )
        total = functional.cross_entropy(
            head(hidden), labels.to(device), ignore_index=IGNORE, reduction="sum"
        )
        return Loss(
            total=total,
            num_targets=num_targets,
            num_tokens=batch.num_tokens,
            looked_up=self.cache is not None and self.cache.num_found > num_found,
        )

    def _run(self, attachment: Attachment, batch: Batch, *, layer: int, depth: Depth, at: Tensor) -> Tensor:
        """Compute the hidden states that the head reads, the lowest layers' at most once if there is a cache."""
        inputs = batch.input_ids, batch.attention_mask
        if self.cache is None or not depth:
            return attachment.run(*inputs, layer=layer, at=at)
        last = attachment.base.sites.num_layers if layer == -1 else layer
        if depth.layers >= last:
            # With nothing trained but the head, what it reads is kept: after the last layer a norm may follow.
            key = (*_identify(attachment, depth), layer, _digest(*inputs, at))
            return self.cache.fetch(key, lambda: attachment.run(*inputs, layer=layer, at=at))
        if attachment.num_added:
            # What the layers give at a prompt's places is seen above, and is no part of what a pass gives.
            return attachment.run(*inputs, layer=layer, at=at)
        known = self._fetch(attachment, batch, depth=depth) if can_begin_inside(depth, last=last) else None
        if known is None and depth.layers == 0:
            return attachment.run(*inputs, layer=layer, at=at)
        if known is None:
            depth = depth.whole
            key = (*_identify(attachment, depth), _digest(*inputs))
            known = (self.cache.fetch(key, lambda: run_below(attachment, *inputs, depth=depth)[0]),)
        return run_beyond(attachment, known, *inputs, depth=depth, layer=layer, at=at)

    def _fetch(self, attachment: Attachment, batch: Batch, *, depth: Depth) -> tuple[Tensor, Tensor] | None:
        """Look up or compute what stands inside a layer; None where there is no room for it."""
        assert self.cache is not None
        inputs = batch.input_ids, batch.attention_mask
        num_values = 2 * batch.input_ids.numel() * attachment.base.sites.hidden
        key = (*_identify(attachment, depth), _digest(*inputs))

        def compute() -> tuple[Tensor, Tensor]:
            inp, h = run_below(attachment, *inputs, depth=depth)
            return inp, h

        return self.cache.fetch_pair(key, compute, num_bytes=num_values * torch.float32.itemsize)


def _identify(attachment: Attachment, depth: Depth) -> tuple[object, ...]:
    """Give all but the rows that what stands at a depth depends on."""
    return (attachment.identify_below(depth), _find_format(attachment.base.device), depth)


def _choose_places(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Give the places of the tokens with a label, and their labels, filled up to one of few numbers of places."""
    places = (labels != IGNORE).nonzero().flatten()
    padded = pad_places(places)
    return padded, functional.pad(labels[places], (0, len(padded) - len(places)), value=IGNORE)


def _find_format(device: torch.device) -> torch.dtype | None:
    """Give the number format that products are rounded to, on which what layers give depends."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


def _digest(*tensors: Tensor) -> bytes:
    """Give a digest of the pieces of a batch: equal ones are the same wherever they come from."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.digest()
